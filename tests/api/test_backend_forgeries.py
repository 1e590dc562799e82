"""Somebody has the password of the backend's role and an account of their own: they become nobody
else by writing sessions and refresh tokens into the database.
"""

import hashlib
import hmac
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Backend, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
TOKEN = "A" * 43


class Thief:
    """What the backend's role may write, and whom they want to be."""

    def __init__(self, database: ProvisionedDatabase, victim: UUID) -> None:
        self._database = database
        self.victim = victim

    def sql(self, statements: str) -> str:
        return self._database.sql(statements, user="autobot_backend")

    def begin_session(self, session_id: str | None = None, user_id: object = None) -> str:
        """A session of the victim, which the database takes for a real one; its id."""
        session_id = session_id or str(uuid.uuid4())
        self.sql(
            "INSERT INTO auth_sessions (id, user_id, expires_at, refresh_secret) VALUES"
            f" ('{session_id}', '{user_id or self.victim}', now() + interval '1 hour', '{TOKEN}')"
        )
        return session_id

    def add_token(self, token_hash: str, session_id: str) -> None:
        self.sql(
            "INSERT INTO refresh_tokens (token_hash, session_id)"
            f" VALUES ('{token_hash}', '{session_id}')"
        )


@pytest.fixture
async def thief(site: Site) -> Thief:
    """Eve, who has an account, and Ada, who is an administrator."""
    await site.add_user(AUTOBOT, "eve")
    victim = await site.add_user(AUTOBOT, "ada", is_admin=True)
    return Thief(site.databases[AUTOBOT], victim)


async def test_the_thief_of_these_tests_writes_what_the_backend_does(
    backend: Backend, thief: Thief
) -> None:
    """With the backend's key, their session would go on."""
    session_id = thief.begin_session()
    keys = backend.resources.refresh_tokens
    thief.add_token(f"\\x{keys.hash(TOKEN).hex()}", session_id)
    token = keys.sealed(TOKEN, datetime.now(UTC), uuid.UUID(session_id), thief.victim)
    assert (await backend.refresh(token)).status_code == 200


async def test_a_session_that_is_begun_anew_does_not_outlast_its_token(
    backend: Backend, thief: Thief
) -> None:
    """The longest session is 12 hours, whatever the database says of this one."""
    keys, session_id = backend.resources.refresh_tokens, thief.begin_session()
    thief.add_token(f"\\x{keys.hash(TOKEN).hex()}", session_id)
    began = datetime.now(UTC) - timedelta(hours=12, seconds=1)
    token = keys.sealed(TOKEN, began, uuid.UUID(session_id), thief.victim)
    assert (await backend.refresh(token)).status_code == 401


@pytest.mark.parametrize(
    "make",
    [
        lambda token: token,
        lambda token: hashlib.sha256(token).digest(),
        lambda token: hmac.digest(TOKEN.encode(), token, "sha256"),
        lambda token: hmac.digest(b"", token, "sha256"),
    ],
    ids=["plain", "sha256", "hmac with the session's secret", "hmac without a key"],
)
async def test_no_hash_that_can_be_made_counts(
    backend: Backend, thief: Thief, make: Callable[[Any], Any]
) -> None:
    session_id = thief.begin_session()
    for token in (TOKEN, TOKEN * 2):
        thief.add_token(f"\\x{make(token.encode()).hex()}", session_id)
        assert (await backend.refresh(token)).status_code == 401


async def test_ones_own_token_is_not_given_to_another_session(
    backend: Backend, thief: Thief
) -> None:
    login = await backend.enter("eve")
    known = thief.sql("SELECT token_hash FROM refresh_tokens")
    session_id = thief.begin_session()
    with pytest.raises(AssertionError, match="duplicate key"):
        thief.add_token(known, session_id)
    with pytest.raises(AssertionError, match="permission denied"):
        thief.sql(f"UPDATE refresh_tokens SET session_id = '{session_id}'")
    with pytest.raises(AssertionError, match="permission denied"):
        thief.sql(f"UPDATE auth_sessions SET user_id = '{thief.victim}'")
    answer = (await backend.refresh(login["refresh_token"])).json()
    assert (await backend.me(backend.bearer(answer["token"]))).json()["username"] == "eve"


@pytest.mark.parametrize(
    "target",
    ["their session", "a new one", "one with the id of one's own", "a new one of one's own"],
)
async def test_nor_once_it_was_cleared_away(
    site: Site, backend: Backend, thief: Thief, target: str
) -> None:
    """After a month the thief knows a token whose hash is free again."""
    theirs = (await backend.enter("ada"))["session_id"]
    own = await backend.enter("eve")
    known = thief.sql(
        f"SELECT token_hash FROM refresh_tokens WHERE session_id = '{own['session_id']}'"
    )
    site.databases[AUTOBOT].sql(f"DELETE FROM auth_sessions WHERE id = '{own['session_id']}'")
    begin: dict[str, Callable[[], str]] = {
        "their session": lambda: theirs,
        "a new one": thief.begin_session,
        "one with the id of one's own": lambda: thief.begin_session(own["session_id"]),
        "a new one of one's own": lambda: thief.begin_session(user_id=own["user"]["user_id"]),
    }
    thief.add_token(known, begin[target]())
    refused = await backend.refresh(own["refresh_token"])
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
    # An access token names its user, too.
    assert (await backend.me(backend.bearer(own["token"]))).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = now() - interval '1 year'",
        "expires_at = '-infinity'",
        "expires_at = now() + interval '1 year'",
        "expires_at = 'infinity'",
    ],
)
async def test_a_session_is_not_made_old_or_endless(
    backend: Backend, thief: Thief, change: str
) -> None:
    """What is old is cleared away, and could then be begun anew under the same id."""
    login = await backend.enter("eve")
    with pytest.raises(AssertionError, match=r"past|longer"):
        thief.sql(f"UPDATE auth_sessions SET {change}")
    assert (await backend.me(backend.bearer(login["token"]))).status_code == 200


async def test_the_server_says_when_a_session_begins_goes_on_and_ends(
    site: Site, backend: Backend, thief: Thief
) -> None:
    await backend.enter("eve")
    sql = site.databases[AUTOBOT].sql
    for column in ("refreshed_at", "ended_at"):
        thief.sql(f"UPDATE auth_sessions SET {column} = '2001-01-01'")
        recent = f"{column} > now() - interval '1 minute'"
        assert sql(f"SELECT {recent} FROM auth_sessions") == "t"
    with pytest.raises(AssertionError, match="permission denied"):
        thief.sql(
            "INSERT INTO auth_sessions (user_id, created_at, expires_at) VALUES"
            f" ('{thief.victim}', '2001-01-01', now())"
        )
    used = "UPDATE refresh_tokens SET used_at = '2001-01-01'"
    thief.sql(used)
    recent = "used_at > now() - interval '1 minute'"
    assert sql(f"SELECT {recent} FROM refresh_tokens") == "t"
    with pytest.raises(AssertionError, match="stays so"):
        thief.sql(used)


async def test_a_session_that_is_over_does_not_go_on(
    site: Site, backend: Backend, thief: Thief
) -> None:
    login = await backend.enter("eve")
    site.databases[AUTOBOT].sql("UPDATE auth_sessions SET expires_at = now() - interval '1 hour'")
    with pytest.raises(AssertionError, match="does not go on"):
        thief.sql("UPDATE auth_sessions SET expires_at = now() + interval '1 hour'")
    assert (await backend.me(backend.bearer(login["token"]))).status_code == 401


async def test_a_session_that_has_ended_is_not_begun_again(backend: Backend, thief: Thief) -> None:
    login = await backend.enter("eve")
    headers = backend.bearer(login["token"])
    await backend.client.post("/api/auth/logout", headers=headers)
    for change in ("ended_at = NULL", "expires_at = now() + interval '1 hour'"):
        with pytest.raises(AssertionError, match="stays so"):
            thief.sql(f"UPDATE auth_sessions SET {change}")
    assert (await backend.me(headers)).status_code == 401
    assert (await backend.refresh(login["refresh_token"])).status_code == 401


@pytest.mark.parametrize(
    "details",
    [
        '{"x": {}}',
        '{"x": ' + "[" * 1500 + "]" * 1500 + "}",
        '{"x": ' + "9" * 4500 + "}",
        "[]",
    ],
    ids=["an object", "a deep one", "a long number", "a list"],
)
async def test_no_event_is_written_that_cannot_be_read(
    admin: httpx2.AsyncClient, thief: Thief, details: str
) -> None:
    with pytest.raises(AssertionError, match="row-level security"):
        thief.sql(
            "INSERT INTO audit_logs (action, resource_type, details)"
            f" VALUES ('login_failed', 'user', '{details}')"
        )
    listed = await admin.get("/api/audit-logs", params={"population": "autobot"})
    assert listed.status_code == 200
