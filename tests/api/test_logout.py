"""A logout ends the session whatever token of it is left, and no answer says so when none ended."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Backend, Databases, Door, RunDoor, Site
from user_management.population import Population
from user_management.security.refresh_tokens import RefreshTokenKeys

NEW_PASSWORD = "granite-otter-quilt-52"


class Doors:
    """The way out of one application, and what is left of somebody's session there."""

    def __init__(self, door: Door, site: Site) -> None:
        self.door = door
        self.population = door.resources.callers
        self.sql = site.databases[self.population].sql
        self.audit = partial(site.audit, self.population, "logout")
        self.is_slm = self.population is Population.SLM
        self.base = "/api/slm-auth" if self.is_slm else "/api/auth"

    async def enter(self, name: str = "marta") -> dict[str, str]:
        response = await self.door.try_login(name)
        assert response.status_code == 200, response.text
        answer = response.json()
        found: dict[str, str] = answer | {
            "token": answer["access_token" if self.is_slm else "token"]
        }
        return found

    def expired(self, session: dict[str, str], user_id: UUID, *, days: int = 0) -> str:
        """The access token of a session, long past its time."""
        return self.door.resources.issuer.issue(
            subject="marta",
            user_id=user_id,
            session_id=uuid.UUID(session["session_id"]),
            claims={},
            issued_at=datetime.now(UTC) - timedelta(hours=2, days=days),
        )

    async def leave(self, token: str | None = None, **body: Any) -> httpx2.Response:
        headers = {} if token is None else self.door.bearer(token)
        sent: dict[str, Any] = {"json": body} if body else {}
        return await self.door.client.post(f"{self.base}/logout", headers=headers, **sent)

    def says_that_it_ended(self, response: httpx2.Response) -> bool:
        if self.is_slm:
            assert response.status_code in (204, 401), response.text
            return response.status_code == 204
        assert response.status_code == 200, response.text
        assert response.json()["success"] is (response.json()["message"] == "Logged out")
        answer: bool = response.json()["success"]
        return answer

    def go_on(self) -> int:
        return int(self.sql("SELECT count(*) FROM auth_sessions WHERE ended_at IS NULL"))

    async def refresh(self, session: dict[str, str]) -> int:
        response = await self.door.client.post(
            f"{self.base}/refresh", json={"refresh_token": session["refresh_token"]}
        )
        return response.status_code


@pytest.fixture
def doors(door: Door, site: Site) -> Doors:
    return Doors(door, site)


@pytest.fixture
async def marta(doors: Doors, site: Site) -> uuid.UUID:
    return await site.add_user(doors.population, "marta")


WAYS = {
    "access": ("token", None),
    "expired access": ("expired", None),
    "access that expired weeks ago": ("ancient", None),
    "refresh": (None, "refresh"),
    "both": ("token", "refresh"),
    "expired access and refresh": ("expired", "refresh"),
    "expired access and nonsense": ("expired", "x"),
    "nonsense and refresh": ("x", "refresh"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_token_of_a_session_ends_it(doors: Doors, marta: uuid.UUID, way: str) -> None:
    session = await doors.enter()
    other = await doors.enter()
    tokens = {
        "token": session["token"],
        "expired": doors.expired(session, marta),
        "ancient": doors.expired(session, marta, days=20),
        "refresh": session["refresh_token"],
        "x": "x",
        None: None,
    }
    access, refresh = (tokens[kind] for kind in WAYS[way])
    body = {} if refresh is None else {"refresh_token": refresh}
    assert doors.says_that_it_ended(await doors.leave(access, **body))
    assert await doors.refresh(session) == 401
    me = await doors.door.client.get(
        f"{doors.base}/me", headers=doors.door.bearer(session["token"])
    )
    assert me.status_code == 401
    assert await doors.refresh(other) == 200, "another session of the same person"
    [row] = doors.audit()
    assert (row["user_id"], row["resource_id"]) == (str(marta), session["session_id"])


async def test_a_token_that_was_replaced_ends_the_session_too(
    doors: Doors, marta: uuid.UUID
) -> None:
    del marta
    session = await doors.enter()
    assert await doors.refresh(session) == 200
    assert doors.says_that_it_ended(await doors.leave(refresh_token=session["refresh_token"]))
    assert doors.go_on() == 0


async def test_two_tokens_end_two_sessions(doors: Doors, site: Site, marta: uuid.UUID) -> None:
    """Possession is enough: they need not even be the same person's."""
    await site.add_user(doors.population, "other")
    mine, theirs = await doors.enter(), await doors.enter("other")
    left = await doors.leave(doors.expired(mine, marta), refresh_token=theirs["refresh_token"])
    assert doors.says_that_it_ended(left)
    assert doors.go_on() == 0
    assert {row["resource_id"] for row in doors.audit()} == {
        mine["session_id"],
        theirs["session_id"],
    }


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at)"
        " SELECT id, true, now() + interval '1 hour' FROM users",
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at)"
        " SELECT id, true, now() - interval '1 hour' FROM users",
    ],
)
async def test_who_may_do_nothing_else_logs_out(
    doors: Doors, marta: uuid.UUID, change: str
) -> None:
    """A session that is refused everywhere may come to count again."""
    del marta
    session = await doors.enter()
    doors.sql(change)
    assert doors.says_that_it_ended(await doors.leave(session["token"]))
    assert doors.go_on() == 0


async def forged(doors: Doors, session: dict[str, str], user_id: UUID) -> dict[str, str | None]:
    """What is no token of a session here."""
    resources = doors.door.resources
    head, body, signature = session["token"].split(".")
    keys = RefreshTokenKeys([b"x" * 32])
    return {
        "nothing": None,
        "nonsense": "x",
        "unsigned": f"{head}.{body}.",
        "another signature": f"{head}.{body}.{signature[::-1]}",
        "a session id": session["session_id"],
        "a refresh token as a bearer": session["refresh_token"],
        "somebody else's session": resources.issuer.issue(
            subject="marta",
            user_id=uuid.uuid4(),
            session_id=uuid.UUID(session["session_id"]),
            claims={},
        ),
        "not yet valid": resources.issuer.issue(
            subject="marta",
            user_id=user_id,
            session_id=uuid.UUID(session["session_id"]),
            claims={},
            issued_at=datetime.now(UTC) + timedelta(hours=1),
        ),
        "sealed by another": keys.sealed(
            session["refresh_token"][:43],
            datetime.now(UTC),
            uuid.UUID(session["session_id"]),
            user_id,
        ),
    }


async def test_no_answer_says_that_a_session_ended_which_did_not(
    doors: Doors, marta: uuid.UUID
) -> None:
    session = await doors.enter()
    for kind, token in (await forged(doors, session, marta)).items():
        for body in ({}, {"refresh_token": "x"}, {"refresh_token": session["token"][:200]}):
            answer = await doors.leave(token, **body)
            # A genuine token of nobody's session: it is over, and the backend says no more.
            is_over = kind == "somebody else's session" and not doors.is_slm
            assert doors.says_that_it_ended(answer) is is_over, (kind, body)
            assert doors.go_on() == 1, (kind, body)
    sealed = (await forged(doors, session, marta))["sealed by another"]
    assert not doors.says_that_it_ended(await doors.leave(refresh_token=sealed))
    assert await doors.refresh(session) == 200


async def test_tokens_of_the_other_population_end_nothing(site: Site, backend: Backend) -> None:
    """Both have a user and a session of the same ids."""
    doors = [Doors(each, site) for each in (site, backend)]
    sessions = []
    for each in doors:
        await site.add_user(each.population, "marta")
        sessions.append(await each.enter())
    for each, theirs in zip(doors, sessions[::-1], strict=True):
        for answer in (
            await each.leave(theirs["token"]),
            await each.leave(refresh_token=theirs["refresh_token"]),
        ):
            assert not each.says_that_it_ended(answer)
        assert each.go_on() == 1


async def test_an_expired_token_opens_nothing_else(doors: Doors, marta: uuid.UUID) -> None:
    session = await doors.enter()
    headers = doors.door.bearer(doors.expired(session, marta))
    change = {"current_password": "violet-anchor-77-meadow", "new_password": NEW_PASSWORD}
    for method, path, body in (
        ("GET", "me", None),
        ("POST", "refresh", None),
        ("POST", "change-password", change),
        *([("POST", "confirm", {"current_password": "x"})] if doors.is_slm else []),
    ):
        answer = await doors.door.client.request(
            method, f"{doors.base}/{path}", headers=headers, json=body
        )
        assert answer.status_code in (401, 415, 422), path
        assert doors.go_on() == 1


async def test_unknown_refresh_tokens_are_counted(
    databases: Databases, run_door: RunDoor, site: Site
) -> None:
    async with run_door(databases, login_failures_per_address=2) as door:
        doors = Doors(door, site)
        await site.add_user(doors.population, "marta")
        session = await doors.enter()
        statuses = [(await doors.leave(refresh_token="x")).status_code for _ in range(3)]
        assert statuses == ([401, 401, 429] if doors.is_slm else [200] * 3)
        assert doors.says_that_it_ended(await doors.leave(refresh_token=session["refresh_token"]))
        assert doors.go_on() == 0


async def test_two_that_log_each_other_out_at_once(doors: Doors, marta: uuid.UUID) -> None:
    """Sessions are locked in one order."""
    for _ in range(20):
        one, two = await doors.enter(), await doors.enter()
        answers = await asyncio.gather(
            doors.leave(doors.expired(one, marta), refresh_token=two["refresh_token"]),
            doors.leave(doors.expired(two, marta), refresh_token=one["refresh_token"]),
        )
        assert any(doors.says_that_it_ended(answer) for answer in answers)
    assert doors.go_on() == 0


async def test_a_cookie_logs_out_by_the_same_address_and_no_other_site_does(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    doors = Doors(site, site)
    own = {"X-CSRF": "1", "Origin": "https://slm.example", "Sec-Fetch-Site": "same-origin"}
    body = {"username": "marta", "password": site.password}
    path = "/api/slm-auth/browser/login"
    assert (await site.client.post(path, json=body, headers=own)).status_code == 200
    refused = await doors.leave()
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site_request")
    assert doors.go_on() == 1
    left = await site.client.post("/api/slm-auth/logout", headers=own)
    assert (left.status_code, doors.go_on()) == (204, 0)


async def test_a_browser_ends_both_sessions_that_its_cookies_name(site: Site) -> None:
    """Two tabs that logged in at once may have left it with one token of each."""
    await site.add_user(Population.SLM, "marta")
    doors = Doors(site, site)
    site.client.headers.update({"X-CSRF": "1", "Sec-Fetch-Site": "same-origin"})
    first, second = await doors.enter(), await doors.enter()
    names = ("__Host-slm-access", "__Host-slm-refresh")
    for name, value in zip(names, (first["token"], second["refresh_token"]), strict=True):
        site.client.cookies.set(name, value, domain="slm.example", path="/")
    left = await site.client.post("/api/slm-auth/browser/logout")
    assert (left.status_code, doors.go_on()) == (204, 0)


async def test_a_browser_whose_access_has_expired_and_whose_refresh_is_gone(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    doors = Doors(site, site)
    site.client.headers.update({"X-CSRF": "1", "Sec-Fetch-Site": "same-origin"})
    token = doors.expired(await doors.enter(), user_id)
    site.client.cookies.set("__Host-slm-access", token, domain="slm.example", path="/")
    left = await site.client.post("/api/slm-auth/browser/logout")
    assert (left.status_code, doors.go_on()) == (204, 0)
