"""`slm housekeeping`: removing old rows, which a timer does."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

import typer

from slm_server.cli.common import connected, fail
from slm_server.cli.output import JsonObjectOption
from user_management.config import Settings, load_settings
from user_management.errors import ConfigurationError, DomainError
from user_management.population import Population
from user_management.services import HousekeepingService
from user_management.services.audit_chain import count_overdue


def run(as_json: JsonObjectOption = False) -> None:
    """Remove from both databases what nobody needs any more.

    Sessions that ended 30 days ago, browsers that nobody logged in with for 30 days, failed logins
    that count no more, requests that nobody will repeat after 24 hours, of each user all former
    passwords but the newest 24, and what is known of users who were deleted
    DELETED_USERS_KEPT_DAYS ago. Also ends with status 1 when rows of an audit log have waited too
    long for their seals.
    """
    removed: dict[Population, dict[str, int]] = {}
    failures: list[str] = []
    for population in Population:
        try:
            removed[population], overdue = asyncio.run(_clean(load_settings(), population))
            if overdue:
                failures.append(
                    f"{population}: {overdue} rows of the audit log have no seal. "
                    "`slm doctor` says what to do."
                )
        except (ConfigurationError, DomainError) as error:
            failures.append(str(error))
    if as_json:
        typer.echo(json.dumps(removed))
    else:
        for population, tables in removed.items():
            counts = ", ".join(f"{table} {count}" for table, count in tables.items())
            typer.echo(f"{population}: removed {counts}")
    if failures:
        fail("\n".join(failures))


async def _clean(settings: Settings, population: Population) -> tuple[dict[str, int], int]:
    """What was removed, and how many rows of the audit log should have been sealed."""
    removed: Counter[str] = Counter()
    kept = timedelta(days=settings.deleted_users_kept_days)
    while True:
        # Each batch is a transaction of its own: it stays done, and holds up nobody for long.
        async with connected(settings, population) as connection:
            batch = await HousekeepingService(connection.session, kept).run()
            overdue = await count_overdue(connection.session)
        removed.update(batch)
        if not any(batch.values()):
            return dict(removed), overdue
