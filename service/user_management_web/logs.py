"""Log lines as JSON on standard output, one object per line, for the journal."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from user_management_web.asgi import describe_error

_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object per record. JSON's escapes keep control characters out of terminals."""

    def format(self, record: logging.LogRecord) -> str:
        """The record and its `extra` members as one line of ASCII."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info and record.exc_info[1]:
            entry["error"] = describe_error(record.exc_info[1])
        return json.dumps(entry, default=str)


def configure_logging(application: str) -> None:
    """Send what the application, its domain and its server log to standard output.

    The server's own access log is switched off: it would repeat query strings.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    for name in (application, "user_management", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
    logging.getLogger("uvicorn.error").handlers = []
