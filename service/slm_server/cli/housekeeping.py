"""`slm housekeeping`: removing old rows, which a timer does."""

import asyncio
import json
from collections import Counter

import typer

from slm_server.cli.common import JsonOption, connected, fail
from user_management.config import Settings, load_settings
from user_management.errors import ConfigurationError, DomainError
from user_management.population import Population
from user_management.services import HousekeepingService


def run(as_json: JsonOption = False) -> None:
    """Remove from both databases what nobody needs any more.

    Sessions that ended 30 days ago, browsers that nobody logged in with for 30 days, failed logins
    that count no more, requests that nobody will repeat after 24 hours, and of each user all former
    passwords but the newest 24.
    """
    removed: dict[Population, dict[str, int]] = {}
    failures: list[str] = []
    for population in Population:
        try:
            removed[population] = asyncio.run(_clean(load_settings(), population))
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


async def _clean(settings: Settings, population: Population) -> dict[str, int]:
    removed: Counter[str] = Counter()
    while True:
        # Each batch is a transaction of its own: it stays done, and holds up nobody for long.
        async with connected(settings, population) as connection:
            batch = await HousekeepingService(connection.session).run()
        removed.update(batch)
        if not any(batch.values()):
            return dict(removed)
