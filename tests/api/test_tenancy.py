"""Who administers one organization reaches no other, behind either of the two walls alone."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.support.applications import Databases, Site
from user_management.database import _Session
from user_management.population import Population
from user_management.tenancy import restrict

# Every route with an address or a body that can name something of an organization, and what is
# sent there: in the order in which an administrator of everything could send it all.
REQUESTS: list[tuple[str, Any]] = [
    ("get_organization", None),
    ("get_organization_by_slug", None),
    ("get_organization_stats", None),
    ("update_organization", {"description": "taken over"}),
    ("update_organization", {"max_users": 100}),
    ("get_autobot_user", None),
    ("list_teams_of_user", None),
    ("create_autobot_user", {"username": "{new}", "email": "{new}@x.y", "org_id": "{org_id}"}),
    ("update_autobot_user", {"bio": "taken over"}),
    ("list_autobot_user_sessions", None),
    ("get_autobot_user_lock", None),
    ("end_autobot_user_session", None),
    ("end_autobot_user_sessions", None),
    ("update_autobot_user", {"is_active": False}),
    ("reset_autobot_user_password", None),
    ("unlock_autobot_user", None),
    ("create_autobot_role", {"name": "{new}", "org_id": "{org_id}"}),
    ("get_autobot_role", None),
    ("update_autobot_role", {"description": "taken over"}),
    ("list_roles_of_autobot_user", None),
    ("revoke_autobot_role", None),
    ("assign_autobot_role", {"role_id": "{role_id}"}),
    ("get_team", None),
    ("list_team_members", None),
    ("create_team", {"name": "{new}", "organization_id": "{org_id}"}),
    ("create_team", {"name": "{new}", "organization_id": "{org_id}", "owner_id": "{user_id}"}),
    ("update_team", {"name": "{new}"}),
    ("change_team_member", {"role": "admin"}),
    ("change_team_members", {"change": [{"user_id": "{user_id}", "role": "member"}]}),
    ("remove_team_member", None),
    ("add_team_member", {"user_id": "{user_id}"}),
    ("change_team_members", {"remove": ["{user_id}"]}),
    ("change_team_members", {"add": [{"user_id": "{user_id}"}]}),
    ("delete_team", None),
    ("delete_autobot_user", None),
    ("delete_autobot_role", None),
    ("deactivate_organization", None),
    ("activate_organization", None),
    ("delete_organization", None),
]
# What names their things in the body of a request about ours.
MIXED: list[tuple[str, Any]] = [
    ("create_autobot_user", {"username": "{new}", "email": "{new}@x.y", "role_ids": ["{role_id}"]}),
    ("update_autobot_user", {"org_id": "{org_id}"}),
    ("assign_autobot_role", {"role_id": "{role_id}"}),
    ("create_team", {"name": "{new}", "owner_id": "{user_id}"}),
    ("add_team_member", {"user_id": "{user_id}", "role": "owner"}),
    ("change_team_members", {"add": [{"user_id": "{user_id}"}]}),
    ("change_team_members", {"change": [{"user_id": "{user_id}", "role": "owner"}]}),
    ("change_team_members", {"remove": ["{user_id}"]}),
]
LISTS = {
    "list_organizations": ("search=their",),
    "list_autobot_users": ("org_id={org_id}", "team_id={team_id}", "search=their", "role=their"),
    "list_autobot_roles": ("search=their",),
    "list_teams": ("org_id={org_id}", "search=their"),
}
# What no limited administrator may, and what is in files: test_transfer_api.py tries those.
ELSEWHERE = {"create_organization", "import_autobot_users", "export_autobot_users"}
# All that belongs to an organization, as text.
ROWS = """
    SELECT json_agg(row ORDER BY row::text) FROM (
        SELECT to_jsonb(o) FROM organizations o WHERE id = '{0}'
        UNION ALL SELECT to_jsonb(u) FROM users u WHERE org_id = '{0}'
        UNION ALL SELECT to_jsonb(t) FROM teams t WHERE org_id = '{0}'
        UNION ALL SELECT to_jsonb(m) FROM team_memberships m, users u
            WHERE u.id = user_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(m) FROM team_memberships m, teams t
            WHERE t.id = team_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(r) FROM roles r WHERE org_id = '{0}'
        UNION ALL SELECT to_jsonb(p) FROM role_permissions p, roles r
            WHERE r.id = role_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(r) FROM user_roles r, users u
            WHERE u.id = user_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(r) FROM user_roles r, roles o
            WHERE o.id = role_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(s) FROM auth_sessions s, users u
            WHERE u.id = user_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(c) FROM user_credentials c, users u
            WHERE u.id = user_id AND org_id = '{0}'
        UNION ALL SELECT to_jsonb(a) FROM audit_logs a WHERE org_id = '{0}'
    ) AS rows (row)
"""
MAKE = """
    INSERT INTO organizations (name, slug) VALUES ('{0}', '{0}');
    INSERT INTO users (org_id, username, email)
        SELECT id, '{0}', '{0}@x.y' FROM organizations WHERE slug = '{0}';
    INSERT INTO teams (org_id, name) SELECT id, '{0}' FROM organizations WHERE slug = '{0}';
    INSERT INTO team_memberships (team_id, user_id)
        SELECT teams.id, users.id FROM teams JOIN users USING (org_id) WHERE name = '{0}';
    INSERT INTO roles (org_id, name) SELECT id, '{0}' FROM organizations WHERE slug = '{0}';
    INSERT INTO user_roles (user_id, role_id)
        SELECT users.id, roles.id FROM roles JOIN users USING (org_id) WHERE name = '{0}';
    INSERT INTO auth_sessions (user_id, expires_at)
        SELECT id, now() + interval '1 hour' FROM users WHERE username = '{0}';
    INSERT INTO audit_logs (org_id, user_id, action, resource_type)
        SELECT org_id, id, 'user_created', 'user' FROM users WHERE username = '{0}';
    SELECT jsonb_build_object(
        'org_id', o.id, 'slug', o.slug, 'user_id', u.id, 'team_id', t.id, 'role_id', r.id,
        'session_id', s.id, 'audit_id', a.id)
    FROM organizations o JOIN users u ON u.org_id = o.id JOIN teams t ON t.org_id = o.id
        JOIN roles r ON r.org_id = o.id JOIN auth_sessions s ON s.user_id = u.id
        JOIN audit_logs a ON a.org_id = o.id
    WHERE o.slug = '{0}'
"""
DISABLE = """
    SELECT string_agg(format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', relname), ';')
    FROM pg_class WHERE relrowsecurity
"""


@dataclass
class Tenants:
    """Two organizations with one of everything, and a client that administers only ours."""

    site: Any
    client: httpx2.AsyncClient
    ours: dict[str, str]
    theirs: dict[str, str]
    routes: dict[str, tuple[str, str]]
    numbers: Iterator[int]

    @property
    def database(self) -> Any:
        return self.site.databases[Population.AUTOBOT]

    def their_rows(self) -> str:
        found: str = self.database.sql(ROWS.format(self.theirs["org_id"]))
        return found

    async def send(
        self,
        request: tuple[str, Any],
        things: dict[str, str],
        in_path: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """Send a request about these things; `in_path` are those of the address, if others."""
        name, body = request
        method, path = self.routes[name]
        things = things | {"new": f"new_{next(self.numbers)}"}
        if body is not None:
            filled = re.sub(r"{(\w+)}", lambda match: things[match[1]], json.dumps(body))
            options |= {"content": filled, "headers": {"Content-Type": "application/json"}}
        return await self.client.request(method, path.format(**(in_path or things)), **options)

    def assert_hidden(self, response: httpx2.Response) -> None:
        """Nothing of theirs is told but what the request named itself."""
        request = f"{response.request.url} {response.request.content.decode()}"
        for thing in self.theirs.values():
            assert thing not in response.text or thing in request, response.request.url


def take_away_rows(database: Any) -> None:
    """Switch off what the database itself refuses."""
    database.sql(database.sql(DISABLE))


@pytest.fixture
def statements_unrestricted() -> Iterator[None]:
    """Switch off the criterion that each statement gets."""
    event.remove(_Session, "do_orm_execute", restrict)
    yield
    event.listen(_Session, "do_orm_execute", restrict)


@pytest.fixture(params=["both walls", "rows", "statements"])
def walls(request: pytest.FixtureRequest, databases: Databases) -> None:
    """What stands between the organizations."""
    if request.param == "rows":
        request.getfixturevalue("statements_unrestricted")
    if request.param == "statements":
        take_away_rows(databases[Population.AUTOBOT])


@pytest.fixture
async def tenants(site: Site) -> Tenants:
    database = site.databases[Population.AUTOBOT]
    ours, theirs = (json.loads(database.sql(MAKE.format(name))) for name in ("our", "their"))
    await site.add_user(Population.SLM, "limited", org_id=ours["org_id"], roles=["admin"])
    site.client.headers.update(await site.login("limited"))
    return Tenants(site, site.client, ours, theirs, routes_of(site), count())


def routes_of(site: Site) -> dict[str, tuple[str, str]]:
    """Method and path of each operation."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in site.app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def test_no_route_is_forgotten(site: Site) -> None:
    """Whoever adds a route says here what it means to reach another organization by it."""
    known = {name for name, _ in REQUESTS} | LISTS.keys() | ELSEWHERE
    mine = ("/api/autobot-", "/api/organizations")
    assert known == {name for name, (_, path) in routes_of(site).items() if path.startswith(mine)}


# By what was made on the way: a team that the user alone owns, and other users.
HELD_BACK = {"delete_autobot_user": "last_owner", "delete_organization": "organization_in_use"}


async def test_an_administrator_of_everything_may_send_all_of_it(tenants: Tenants) -> None:
    await tenants.site.add_user(Population.SLM, "captain", is_admin=True)
    tenants.client.headers.update(await tenants.site.login("captain"))
    for request in REQUESTS:
        response = await tenants.send(request, tenants.theirs)
        if response.status_code == 409:
            assert response.json()["code"] == HELD_BACK[request[0]]
        else:
            assert response.is_success, (request, response.text)


@pytest.mark.usefixtures("walls")
async def test_no_request_reaches_what_is_theirs(tenants: Tenants) -> None:
    before = tenants.their_rows()
    for request in REQUESTS:
        response = await tenants.send(request, tenants.theirs)
        in_body = "{" not in tenants.routes[request[0]][1]
        assert response.status_code == (422 if in_body else 404), (request, response.text)
        tenants.assert_hidden(response)
    assert tenants.their_rows() == before


@pytest.mark.usefixtures("walls")
async def test_no_request_about_ours_brings_in_what_is_theirs(tenants: Tenants) -> None:
    before = tenants.their_rows()
    for request in MIXED:
        response = await tenants.send(request, tenants.theirs, in_path=tenants.ours)
        assert response.status_code == 422, (request, response.text)
        tenants.assert_hidden(response)
    swapped = {"user_id": tenants.ours["user_id"], "team_id": tenants.theirs["team_id"]}
    for in_path in (swapped, tenants.theirs | {"team_id": tenants.ours["team_id"]}):
        for request in (("change_team_member", {"role": "admin"}), ("remove_team_member", None)):
            assert (await tenants.send(request, tenants.ours, in_path)).status_code == 404
    assert tenants.their_rows() == before


@pytest.mark.usefixtures("walls")
async def test_no_list_shows_what_is_theirs(tenants: Tenants) -> None:
    for name, queries in LISTS.items():
        path = tenants.routes[name][1]
        everything = await tenants.client.get(path, params={"include_total": True})
        # Ours, and the system roles, which are everybody's.
        assert everything.json()["total"] == (4 if name == "list_autobot_roles" else 1)
        tenants.assert_hidden(everything)
        for query in queries:
            url = f"{path}?include_total=true&{query.format(**tenants.theirs)}"
            answer = (await tenants.client.get(url)).json()
            assert answer["total"] == 0, url


@pytest.mark.usefixtures("walls")
async def test_a_role_of_theirs_is_not_shown_of_ours(tenants: Tenants) -> None:
    tenants.database.sql(
        "INSERT INTO user_roles (user_id, role_id)"
        f" VALUES ('{tenants.ours['user_id']}', '{tenants.theirs['role_id']}')"
    )
    path = tenants.routes["list_autobot_users"][1]
    [listed] = (await tenants.client.get(path)).json()["users"]
    assert [role["id"] for role in listed["roles"]] == [tenants.ours["role_id"]]
    assert (await tenants.client.get(f"{path}/{listed['id']}")).json() == listed


@pytest.mark.usefixtures("walls")
async def test_the_log_of_what_happened_at_theirs_is_closed(tenants: Tenants) -> None:
    log, whose = "/api/audit-logs", {"population": "autobot"}
    for path, params in ((log, {}), (f"{log}/export", {"format": "csv"})):
        answer = await tenants.client.get(path, params=whose | params)
        assert answer.status_code == 200, answer.text
        assert tenants.ours["audit_id"] in answer.text
        tenants.assert_hidden(answer)
    event_of_theirs = f"{log}/{tenants.theirs['audit_id']}"
    assert (await tenants.client.get(event_of_theirs, params=whose)).status_code == 404
    for path in (log, f"{log}/export", "/api/security/audit-logs"):
        assert (await tenants.client.get(path)).status_code == 403


@pytest.mark.usefixtures("walls")
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(REQUESTS + MIXED), st.booleans(), st.booleans()),
        min_size=5,
        max_size=20,
    )
)
async def test_nothing_that_is_done_to_ours_opens_theirs(
    tenants: Tenants, steps: list[tuple[Any, ...]]
) -> None:
    """Whatever became of ours before: what names theirs is refused and changes nothing."""
    before = tenants.their_rows()
    for request, path_is_ours, body_is_ours in steps:
        path = tenants.ours if path_is_ours else tenants.theirs
        body = tenants.ours if body_is_ours else tenants.theirs
        response = await tenants.send(request, body, in_path=path)
        named = ("{" in tenants.routes[request[0]][1] and not path_is_ours) or (
            "_id}" in json.dumps(request[1]) and not body_is_ours
        )
        if named:
            assert response.status_code in {404, 422}, (request, response.text)
        tenants.assert_hidden(response)
    assert tenants.their_rows() == before


@pytest.mark.usefixtures("statements_unrestricted")
async def test_there_are_two_walls_and_no_third(tenants: Tenants) -> None:
    """Were this to fail, the tests with one wall would prove nothing."""
    take_away_rows(tenants.database)
    for name in ("get_organization", "get_autobot_user", "get_team", "update_team"):
        body = {"name": "taken over"} if name == "update_team" else None
        assert (await tenants.send((name, body), tenants.theirs)).status_code == 200, name


async def test_fleet_administrators_are_none_of_their_business(tenants: Tenants) -> None:
    for name, (method, path) in tenants.routes.items():
        if path.startswith(("/api/slm-users", "/api/slm-roles", "/api/auth/users")):
            body: dict[str, Any] | None = None if method in {"GET", "DELETE"} else {}
            response = await tenants.client.request(method, path.format(**tenants.ours), json=body)
            assert response.status_code == 403, name
