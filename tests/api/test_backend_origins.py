"""What browsers are told: which pages may call the AutoBot backend (CORS)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.support.applications import Backend, Databases, RunBackend, Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
ORIGINS = ("https://autobot.example", "http://localhost:5173")
# As like one of ours as can be.
STRANGERS = [
    "https://evil.example",
    "http://autobot.example",
    "https://autobot.example:8443",
    "https://autobot.example.evil.example",
    "https://AUTOBOT.example",
    "null",
    "*",
    "",
]
LOGIN = "/api/auth/login"
ME = "/api/auth/me"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def backend(databases: Databases, run_backend: RunBackend) -> AsyncIterator[Backend]:
    """The backend, with two origins."""
    async with run_backend(databases[AUTOBOT], frontend_origins=ORIGINS) as started:
        yield started


def told(response: httpx2.Response) -> dict[str, str]:
    """What an answer says about origins."""
    prefix = "access-control-"
    return {
        name.removeprefix(prefix): value
        for name, value in response.headers.items()
        if name.startswith(prefix)
    }


async def ask(
    backend: Backend,
    origin: str,
    method: str = "POST",
    headers: str = "authorization, content-type",
) -> httpx2.Response:
    """What a browser asks first."""
    return await backend.client.options(
        LOGIN,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


@pytest.mark.parametrize("origin", ORIGINS)
async def test_pages_of_the_frontend_may_call(backend: Backend, origin: str) -> None:
    response = await ask(backend, origin, headers="authorization,content-type,x-session-id")
    assert response.status_code == 200, response.text
    answer = told(response)
    allowed = set(answer.pop("allow-headers").split(", "))
    assert allowed >= {"Authorization", "Content-Type", "X-Request-ID", "X-Session-ID"}
    assert answer == {
        "allow-origin": origin,
        "allow-methods": "GET, POST",
        "max-age": "600",
    }
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize(
    ("method", "headers"), [("DELETE", "content-type"), ("POST", "x-user-role")]
)
async def test_what_the_frontend_does_not_need_is_not_allowed(
    backend: Backend, method: str, headers: str
) -> None:
    response = await ask(backend, ORIGINS[0], method, headers)
    assert response.status_code == 400
    answer = told(response)
    assert method not in answer["allow-methods"] or headers not in answer["allow-headers"].lower()


@pytest.mark.parametrize("origin", ORIGINS)
async def test_answers_say_whom_they_are_for(site: Site, backend: Backend, origin: str) -> None:
    await site.add_user(AUTOBOT, "marta")
    backend.client.headers["Origin"] = origin
    login = await backend.try_login("marta")
    me = await backend.me(backend.bearer(login.json()["token"]))
    for response in (login, me):
        assert response.status_code == 200, response.text
        assert told(response) == {
            "allow-origin": origin,
            "expose-headers": "Retry-After, X-Request-ID",
        }
        assert response.headers["vary"] == "Origin"


PROBLEMS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: ("POST", LOGIN, {"content": b"{", "headers": JSON}),
    401: ("GET", ME, {}),
    404: ("GET", "/api/auth/nothing", {}),
    405: ("DELETE", LOGIN, {}),
    413: ("POST", LOGIN, {"content": b"x" * 70_000, "headers": JSON}),
    415: ("POST", LOGIN, {"content": b"username=marta"}),
    422: ("POST", LOGIN, {"json": {"username": "marta"}}),
}


def assert_readable(response: httpx2.Response, status: int) -> None:
    """Otherwise the frontend's pages could not show what is wrong."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert told(response)["allow-origin"] == ORIGINS[0]


@pytest.mark.parametrize("status", PROBLEMS)
async def test_problems_are_for_the_frontend_too(backend: Backend, status: int) -> None:
    method, path, request = PROBLEMS[status]
    backend.client.headers["Origin"] = ORIGINS[0]
    assert_readable(await backend.client.request(method, path, **request), status)


async def test_so_is_that_the_database_is_away(
    proxied: dict[Population, Any], run_backend: RunBackend
) -> None:
    async with run_backend(proxied[AUTOBOT], frontend_origins=ORIGINS) as backend:
        backend.client.headers["Origin"] = ORIGINS[0]
        assert_readable(await backend.try_login("marta"), 503)


async def test_even_what_goes_wrong_in_the_backend(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(backend.resources.hasher, "_run", fail)
    backend.client.headers["Origin"] = ORIGINS[0]
    assert_readable(await backend.try_login("marta"), 500)


@pytest.mark.parametrize("origin", STRANGERS)
async def test_other_origins_are_told_nothing(site: Site, backend: Backend, origin: str) -> None:
    await site.add_user(AUTOBOT, "marta")
    asked = await ask(backend, origin)
    assert (asked.status_code, told(asked)) == (405, {})
    backend.client.headers["Origin"] = origin
    login = await backend.try_login("marta")
    refused = await backend.me({})
    for response, status in ((login, 200), (refused, 401)):
        assert (response.status_code, told(response)) == (status, {})


async def test_without_origins_nobody_is_told_anything(
    databases: Databases, run_backend: RunBackend
) -> None:
    async with run_backend(databases[AUTOBOT]) as backend:
        for origin in (*ORIGINS, *STRANGERS):
            asked = await ask(backend, origin)
            assert (asked.status_code, told(asked)) == (405, {})
            answer = await backend.client.get(ME, headers={"Origin": origin})
            assert (answer.status_code, told(answer)) == (401, {})


async def test_programs_that_are_no_browser_are_told_nothing(backend: Backend) -> None:
    assert told(await backend.me({})) == {}
    assert (await backend.client.options(LOGIN)).status_code == 405
