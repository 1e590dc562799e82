"""Who may call what: the matrix, each route as each caller, and the checks in other programs."""

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from fastapi import APIRouter

from slm_server.app import create_app
from slm_server.describe.matrix import HOLDERS, Row, contexts, rows
from tests.support.applications import Databases, Site
from user_management.permissions import SYSTEM_ROLES
from user_management.population import Population
from user_management_web.rbac import ANY_SESSION_TOKEN, LOGGED_IN, ONE_TIME, PUBLIC, access_of

ROOT = Path(__file__).parents[2]
# What a caller is told who may not come in.
REFUSALS = {"not_authenticated", "permission_denied", "password_change_required"}


def test_the_published_matrix_is_that_of_the_application() -> None:
    written = subprocess.run(
        [sys.executable, "-m", "slm_server.describe.matrix"],
        cwd=ROOT,
        env={"PYTHONPATH": "service"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs/permissions.md").read_text() == written.stdout, (
        "run: PYTHONPATH=service python -m slm_server.describe.matrix > docs/permissions.md"
    )


def test_every_route_declares_what_it_asks() -> None:
    undeclared = [
        context.path for context in contexts(create_app()) if access_of(context.dependant) is None
    ]
    assert undeclared == []


def test_a_route_that_declares_nothing_is_found() -> None:
    app = create_app()
    forgotten = APIRouter()
    forgotten.get("/forgotten")(lambda: None)
    app.include_router(forgotten)
    with pytest.raises(LookupError, match="/forgotten"):
        rows(app)


def test_the_matrix_has_every_operation_of_the_description() -> None:
    app = create_app()
    described = {
        (method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item
    }
    assert {(row.method, row.path) for row in rows(app)} == described


def test_the_system_roles_are_those_of_the_databases(databases: Databases) -> None:
    for database in databases.values():
        stored = database.sql(
            "SELECT r.name, string_agg(p.name, ' ' ORDER BY p.name) FROM roles r "
            "JOIN role_permissions rp ON rp.role_id = r.id "
            "JOIN permissions p ON p.id = rp.permission_id "
            "WHERE r.is_system GROUP BY r.name ORDER BY r.name"
        )
        known = [f"{name}|{' '.join(sorted(held))}" for name, held in sorted(SYSTEM_ROLES.items())]
        assert stored.splitlines() == known


def expected(caller: str, row: Row) -> str | None:
    """What a caller is refused with, None when they may come in."""
    if row.access == PUBLIC:
        return None
    if caller == "nobody":
        return "not_authenticated"
    if row.access in (ANY_SESSION_TOKEN, ONE_TIME):
        return None
    if caller == "one-time password":
        return "password_change_required"
    may = row.access == LOGGED_IN if caller == "no role" else row.admits(caller)
    return None if may else "permission_denied"


async def headers_of(site: Site, caller: str) -> dict[str, str]:
    """Create the caller and log them in."""
    if caller == "nobody":
        return {}
    limited = uuid.uuid4() if caller == "limited administrator" else None
    if limited is not None:
        site.databases[Population.AUTOBOT].sql(
            f"INSERT INTO organizations (id, name, slug) VALUES ('{limited}', 'Acme', 'acme')"
        )
    roles = [caller] if caller in SYSTEM_ROLES else ["admin"]
    user = await site.add_user(
        Population.SLM,
        "caller",
        is_admin=caller == "platform administrator",
        org_id=limited,
        roles=[] if caller in {"no role", "platform administrator"} else roles,
    )
    if caller == "one-time password":
        site.give_one_time_password(user)
    return await site.login("caller")


def address(row: Row) -> str:
    """Of something that could be there, and is not."""
    return re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), row.path)


@pytest.mark.parametrize("caller", ["nobody", "one-time password", "no role", *HOLDERS])
async def test_each_route_admits_whom_the_matrix_says(site: Site, caller: str) -> None:
    headers = await headers_of(site, caller)
    answers, matrix = {}, {}
    for row in rows(site.app):
        if headers:
            # The route before may have ended the session.
            headers = await site.login("caller")
        response = await site.client.request(
            row.method,
            address(row),
            headers=headers,
            # Audit logs are of either population; whoever is limited may see one of them.
            params={"population": "autobot"} if "audit-logs" in row.path else None,
            json={} if row.method in {"POST", "PUT", "PATCH"} else None,
        )
        assert response.status_code < 500, (row, response.text)
        refusal = response.json().get("code") if response.status_code in {401, 403} else None
        name = f"{row.method} {row.path}"
        answers[name] = refusal if refusal in REFUSALS else None
        matrix[name] = expected(caller, row)
    assert len(matrix) > 30
    assert answers == matrix


async def test_a_refusal_names_what_is_missing(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    refused = await site.client.get("/api/slm-users", headers=await site.login("marta"))
    assert refused.json()["detail"] == "This needs the permission users:read."
