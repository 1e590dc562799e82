"""An import for the API, as a process of its own: what it computes must not keep logins waiting.

`python -m slm_server.imports.worker` reads a Job from standard input, the file from a descriptor
that the job names, and writes the report to standard output. What goes wrong is the report's last
line. It ends with status 0 if that line is there.
"""

import asyncio
import gc
import logging
import os
import resource
import sys
from typing import Any, BinaryIO, Final, TextIO

from pydantic import BaseModel, ConfigDict, field_serializer
from sqlalchemy import text

from user_management.config import DatabaseSettings
from user_management.database import Database
from user_management.errors import DomainError, ImportRunning, UnusableFile
from user_management.population import Population
from user_management.services import RequestContext
from user_management.services.locks import TableLock, try_lock_exclusive
from user_management.transfer.importer import Importer
from user_management.transfer.lines import SourceError
from user_management.transfer.report import line, outcome_line, summary_line
from user_management.transfer.sources import SourceKind, file_source
from user_management_web.logs import configure_logging
from user_management_web.problems import problem_body

_NICENESS: Final = 10
# Bytes. The largest file takes a quarter; one that is made to take more ends this process only.
_MEMORY: Final = 2 * 2**30
_BUFFER: Final = 2**16  # bytes of the report
_CONNECTIONS: Final = 2  # one that imports, and one that keeps others from it meanwhile
_MAY_BE_IDLE: Final = text("SET LOCAL idle_in_transaction_session_timeout = 0")
_FAILED: Final = (
    "The import failed; what it has written until then stays. The log of the service says more. "
    "Send the file again: an import that is repeated goes on."
)

_logger = logging.getLogger("slm_server.imports.worker")


class Job(BaseModel):
    """What is to be imported, into which database, and for whom. `file` is a descriptor."""

    model_config = ConfigDict(frozen=True)

    population: Population
    database: DatabaseSettings
    kind: SourceKind
    file: int
    apply: bool
    context: RequestContext

    @field_serializer("database")
    def _with_password(self, database: DatabaseSettings) -> dict[str, Any]:
        password = database.password.get_secret_value()
        return database.model_dump(mode="json") | {"password": password}


def give_way() -> None:
    """Let the service go before; who gives way more already may not take that back."""
    current = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(current, _NICENESS))


def main() -> None:
    """Do the job."""
    give_way()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with os.fdopen(os.dup(1), "w", _BUFFER) as report:
        # What is logged to standard output must not end up in the report.
        os.dup2(2, 1)
        configure_logging("slm_server")
        job = Job.model_validate_json(sys.stdin.buffer.read())
        with os.fdopen(job.file, "rb") as file:
            asyncio.run(_run(job, file, report))


async def _run(job: Job, file: BinaryIO, report: TextIO) -> None:
    try:
        await _import(job, file, report)
    except DomainError as error:
        _tell_problem(report, error)
    except SourceError as error:
        _tell_problem(report, UnusableFile(str(error)))
    except Exception:
        _logger.exception("An import failed.")
        report.write(line({"problem": problem_body("internal_error", _FAILED)}))


async def _import(job: Job, file: BinaryIO, report: TextIO) -> None:
    # See `slm import`.
    gc.freeze()
    database = Database(job.population, job.database, pool_size=_CONNECTIONS, deadlines=False)
    try:
        async with database.session() as session:
            # The transaction lasts as long as the import; it holds back no vacuum.
            await session.execute(_MAY_BE_IDLE)
            if not await try_lock_exclusive(session, TableLock.IMPORT):
                raise ImportRunning
            source = file_source(job.kind, file)
            importer = Importer(database, job.context, source, apply=job.apply)
            async for outcome in importer.run():
                report.write(outcome_line(outcome))
            report.write(
                summary_line(job.population, job.kind, importer.summary, applied=job.apply)
            )
    finally:
        await database.dispose()


def _tell_problem(report: TextIO, error: DomainError) -> None:
    report.write(line({"problem": problem_body(error.code, error.detail)}))


if __name__ == "__main__":
    main()
