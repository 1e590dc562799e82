"""`slm doctor --takeover`: does anything still use what AutoBot had for its users before.

It sees sessions. Whoever still asks for a database that was moved is refused and has none: that is
in the log of the server that had it, which playbooks/takeover_confirm.yml reads.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text

from slm_server.cli.check_result import Check, failed, ok, warning
from slm_server.cli.common import connected
from user_management.config import Settings
from user_management.errors import ConfigurationError, DatabaseUnavailable
from user_management.population import Population
from user_management.services.login.records import LEGACY_LOGIN_ROUTE

# A playbook that somebody runs once a week has run.
LOOKBACK: Final = timedelta(days=8)
# As many as fit into a line.
_NAMED: Final = 5

_LOGINS: Final = text(
    """
    SELECT users.username, count(*) AS logins, max(audit_logs.created_at) AS latest
    FROM audit_logs JOIN users ON users.id = audit_logs.user_id
    WHERE audit_logs.action = 'login_success' AND audit_logs.details ->> 'way' = :way
        AND audit_logs.created_at > now() - CAST(:lookback AS interval)
    GROUP BY users.username ORDER BY latest DESC
    """
)
# Sessions of others show to everybody whose they are, and nothing else.
_DATABASES: Final = text(
    """
    SELECT datname AS name, (
        SELECT string_agg(DISTINCT usename, ', ') FROM pg_stat_activity
        WHERE pg_stat_activity.datid = pg_database.oid
    ) AS users
    FROM pg_database
    WHERE datname ~ '^(slm|autobot)_users' AND datname <> ALL(:ours) ORDER BY 1
    """
)
# What a move has noted of itself: module_utils/adoption/moving.py of the collection.
_MOVE: Final = text(
    """
    SELECT shobj_description(oid, 'pg_database') FROM pg_database
    WHERE datname = current_database()
    """
)
# Roles of the site are its owner, those that the owner lets into the schema as its services, and
# the operator of the cluster; AutoBot's own role is none of them.
_STRANGERS: Final = text(
    """
    SELECT DISTINCT activity.usename FROM pg_stat_activity AS activity
    JOIN pg_database ON pg_database.oid = activity.datid
    JOIN pg_roles ON pg_roles.oid = activity.usesysid
    WHERE activity.datname = current_database() AND activity.usesysid <> pg_database.datdba
        AND NOT pg_roles.rolsuper
        AND activity.usename NOT IN ('slm_service', 'autobot_backend') ORDER BY 1
    """
)


async def check_takeover(settings: Settings, population: Population) -> AsyncIterator[Check]:
    """Old logins, old databases, and AutoBot's own role, as one population's cluster has them."""
    name = f"{population} database"
    try:
        async with connected(settings, population) as connection:
            session = connection.session
            if population is Population.SLM:
                values = {"way": LEGACY_LOGIN_ROUTE, "lookback": LOOKBACK}
                yield _check_logins((await session.execute(_LOGINS, values)).all())
            ours = {"ours": _of_the_same_cluster(settings, population)}
            yield _check_databases(population, (await session.execute(_DATABASES, ours)).all())
            if population is Population.AUTOBOT:
                yield _check_move(await session.scalar(_MOVE))
            yield _check_strangers(population, (await session.scalars(_STRANGERS)).all())
    except ConfigurationError as error:
        yield failed(name, "not configured", str(error))
    except DatabaseUnavailable:
        yield failed(name, "does not answer", "`slm doctor` says more.")


def _of_the_same_cluster(settings: Settings, population: Population) -> list[str]:
    """The databases in use that are on the server of this one."""
    here = settings.database(population)
    every = map(settings.database, Population)
    return [it.database for it in every if (it.hosts, it.ports) == (here.hosts, here.ports)]


def _check_logins(logins: Sequence[Any]) -> Check:
    name = "slm logins"
    if not logins:
        return ok(name, f"none by /api/auth/login in {LOOKBACK.days} days")
    return warning(
        name,
        f"by /api/auth/login in {LOOKBACK.days} days: "
        + ", ".join(
            f"{it.username} ({it.logins}, the last {it.latest:%Y-%m-%d %H:%M} UTC)"
            for it in logins[:_NAMED]
        )
        + (f", and {len(logins) - _NAMED} more" if len(logins) > _NAMED else ""),
        "Pages and playbooks of AutoBot come this way; it stays. `slm audit list` has their "
        "addresses.",
    )


def _check_databases(population: Population, databases: Sequence[Any]) -> Check:
    name = f"{population} old databases"
    used = [f"{it.name} ({it.users})" for it in databases if it.users]
    if used:
        return failed(
            name,
            f"in use: {', '.join(used)}",
            "Give these services the new database in their environment files, or move it: "
            "ansible-playbook playbooks/adopt.yml.",
        )
    if databases:
        return ok(name, f"kept, without a session: {', '.join(it.name for it in databases)}")
    return ok(name, "none")


def _check_move(note: str | None) -> Check:
    name = "autobot former database"
    try:
        said = json.loads(note or "{}")
        where, when = said["from"], datetime.fromtimestamp(said["at"], UTC)
    except (ValueError, KeyError, TypeError):
        return ok(name, "none was moved here")
    return ok(
        name,
        f"{where}, until {when:%Y-%m-%d}; who is refused there since, "
        "playbooks/takeover_confirm.yml says",
    )


def _check_strangers(population: Population, roles: Sequence[str]) -> Check:
    name = f"{population} other roles"
    if not roles:
        return ok(name, "none is connected")
    return warning(
        name,
        f"connected: {', '.join(roles)}",
        "AutoBot's services read their own tables so. docs/handover.md says when they end.",
    )
