"""Connections to PostgreSQL that stay open, for statements between those of a test.

libpq is there where the server is. It answers in text, as psql does, without a process each time.
"""

import ctypes
from collections.abc import Iterator

_library = ctypes.CDLL("libpq.so.5")
_ROWS = 2  # PGRES_TUPLES_OK
_FAILURES = (5, 7)  # PGRES_BAD_RESPONSE, PGRES_FATAL_ERROR


def _function(name: str, result: type | None, *arguments: type) -> "ctypes._NamedFuncPointer":
    function: ctypes._NamedFuncPointer = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    found: ctypes._NamedFuncPointer = function
    return found


_P, _S, _I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_connect = _function("PQconnectdb", _P, _S)
_status = _function("PQstatus", _I, _P)
_error = _function("PQerrorMessage", _S, _P)
_finish = _function("PQfinish", None, _P)
_send = _function("PQsendQuery", _I, _P, _S)
_next = _function("PQgetResult", _P, _P)
_outcome = _function("PQresultStatus", _I, _P)
_failure = _function("PQresultErrorMessage", _S, _P)
_height = _function("PQntuples", _I, _P)
_width = _function("PQnfields", _I, _P)
_value = _function("PQgetvalue", _S, _P, _I, _I)
_clear = _function("PQclear", None, _P)


class Connection:
    """One connection, for one thread at a time. Raises AssertionError with what libpq says."""

    def __init__(self, host: str, user: str, database: str) -> None:
        self._handle = _connect(
            f"host={host} user={user} dbname={database} application_name=tests "
            "client_encoding=UTF8 options='-c client_min_messages=warning'".encode()
        )
        if _status(self._handle):
            message = _error(self._handle).decode().strip()
            self.close()
            raise AssertionError(message)

    def run(self, statements: str) -> str:
        """Run statements in one transaction; all rows, columns separated by `|`."""
        rows = self._run(statements)
        # The next caller finds it as new.
        self._run("DISCARD ALL")
        return "\n".join(rows).strip()

    def _run(self, statements: str) -> list[str]:
        rows: list[str] = []
        message = "" if _send(self._handle, statements.encode()) else _error(self._handle).decode()
        while result := _next(self._handle):
            if _outcome(result) in _FAILURES:
                message = _failure(result).decode()
            elif _outcome(result) == _ROWS:
                rows += _rows(result)
            _clear(result)
        if message:
            raise AssertionError(message.strip())
        return rows

    def close(self) -> None:
        """Close it, once."""
        _finish(self._handle)


def _rows(result: int) -> Iterator[str]:
    for row in range(_height(result)):
        yield "|".join(_value(result, row, column).decode() for column in range(_width(result)))
