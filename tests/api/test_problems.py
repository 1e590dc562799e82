"""Every error is a problem, and what surrounds a request."""

import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter

from tests.support.applications import Site
from user_management.errors import DomainError
from user_management.population import Population
from user_management_web.logs import configure_logging
from user_management_web.problems import MEDIA_TYPE, PROBLEMS


def problem_of(response: httpx2.Response, code: str) -> dict[str, Any]:
    """The problem in a response, its form checked."""
    status, title = PROBLEMS[code]
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["code"] == code
    assert body["type"] == f"/problems/{code}"
    assert (body["title"], body["status"]) == (title, status)
    assert body["detail"]
    assert ("www-authenticate" in response.headers) == (status == 401)
    found: dict[str, Any] = body
    return found


def test_every_error_of_the_domain_has_an_entry() -> None:
    def subclasses(kind: type[DomainError]) -> Iterator[type[DomainError]]:
        for each in kind.__subclasses__():
            yield each
            yield from subclasses(each)

    codes = {kind.code for kind in subclasses(DomainError) if not kind.__subclasses__()}
    assert codes <= set(PROBLEMS)


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/slm-auth/login/", "/%00"])
async def test_nothing_there(site: Site, path: str) -> None:
    problem_of(await site.client.get(path), "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/slm-users", "GET, HEAD, POST"),
        ("GET", "/api/slm-auth/login", "POST"),
        ("HEAD", "/api/slm-auth/login", "POST"),
        ("OPTIONS", "/api/autobot-users/1", "DELETE, GET, HEAD, PATCH"),
        ("TRACE", "/health/live", "GET, HEAD"),
        ("PROPFIND", "/health/live", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_allowed(
    site: Site, method: str, path: str, allowed: str
) -> None:
    response = await site.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    if method != "HEAD":
        problem_of(response, "method_not_allowed")


async def test_head_is_get_without_the_body(admin: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/api/slm-auth/me", "/api/slm-users"):
        got, head = await admin.get(path), await admin.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""],
)
async def test_bodies_are_json(site: Site, media_type: str) -> None:
    response = await site.client.post(
        "/api/slm-auth/login",
        content=b'{"username": "x", "password": "y"}',
        headers={"Content-Type": media_type},
    )
    problem_of(response, "unsupported_media_type")


async def test_json_may_name_its_character_set(site: Site) -> None:
    response = await site.client.post(
        "/api/slm-auth/login",
        content=b'{"username": "x", "password": "y"}',
        headers={"Content-Type": "Application/JSON; charset=utf-8"},
    )
    problem_of(response, "invalid_credentials")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_a_limit(site: Site, chunked: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"username": "'
        for _ in range(70):
            yield b"x" * 1024
        yield b'"}'

    content = parts() if chunked else b"".join([part async for part in parts()])
    response = await site.client.post(
        "/api/slm-auth/login", content=content, headers={"Content-Type": "application/json"}
    )
    problem_of(response, "body_too_large")


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 60_000, b'{"a": ' + b"1" * 5000 + b"}"])
async def test_what_is_no_json(site: Site, content: bytes) -> None:
    response = await site.client.post(
        "/api/slm-auth/login", content=content, headers={"Content-Type": "application/json"}
    )
    problem_of(response, "bad_request")


async def test_a_fault_is_named_and_its_value_is_not_repeated(site: Site) -> None:
    response = await site.client.post(
        "/api/slm-auth/login", json={"username": ["secret-1"], "password": {"a/b~": "secret-2"}}
    )
    body = problem_of(response, "validation_error")
    assert "secret" not in response.text
    assert [(fault["in"], fault["pointer"]) for fault in body["errors"]] == [
        ("body", "/username"),
        ("body", "/password"),
    ]
    many = {f"field/{number}": "secret" for number in range(100)}
    response = await site.client.post("/api/slm-auth/login", json=many)
    body = problem_of(response, "validation_error")
    assert len(body["errors"]) == 20
    assert body["errors"][5]["pointer"].startswith("/field~1")
    assert "secret" not in response.text


@pytest.fixture
async def log(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], str]]:
    """What the journal got since the application started."""
    out = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        configure_logging("slm_server")
    # Not before the application, which configures the same on its start.
    assert site.app.state.resources
    yield out.getvalue
    configure_logging("slm_server")


async def test_a_fault_of_ours_is_logged_and_not_shown(
    site: Site, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter()

    @router.get("/fault")
    async def fault() -> None:
        raise RuntimeError("the first line\nDETAIL: a secret row")

    # Of this test only.
    monkeypatch.setattr(site.app.router, "routes", list(site.app.router.routes))
    site.app.include_router(router)
    response = await site.client.get("/fault")
    problem_of(response, "internal_error")
    assert "first line" not in response.text
    lines = [json.loads(line) for line in log().splitlines()]
    [logged] = [line for line in lines if line["logger"] == "user_management.errors"]
    assert "RuntimeError: the first line" in logged["error"]
    assert any("test_problems.py" in frame for frame in logged["error"])
    assert "secret row" not in str(lines)


async def test_the_log_holds_no_secret_and_no_control_character(
    site: Site, log: Callable[[], str]
) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    await site.client.get("/api/slm-users?search=confidential", headers=headers)
    await site.client.get("/api/%1b%5b31m%0aforged", headers=headers)
    await site.try_login("nobody", "a-typed-password-99")
    out = log()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["message"] for line in lines if line["logger"] == "user_management.access"] == [
        "POST /api/slm-auth/login",
        "GET /api/slm-users",
        "GET /api/\x1b[31m\nforged",
        "POST /api/slm-auth/login",
    ]
    assert [line["status"] for line in lines] == [200, 403, 404, 401]
    assert "\x1b" not in out
    token = headers["Authorization"].removeprefix("Bearer ")
    for secret in (site.password, token, "confidential", "a-typed-password-99", "$2b$"):
        assert secret not in out


async def test_answers_are_not_kept(admin: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/api/slm-auth/me", "/api/slm-users", "/api/openapi.json"):
        assert (await admin.get(path)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("given", ["a-1.B_2", "x" * 64])
async def test_a_request_keeps_the_id_that_it_came_with(
    site: Site, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await site.client.get("/health/live", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == given
    assert vars(caplog.records[-1])["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "<script>", "a\x1b[31m"])
async def test_a_request_without_a_usable_id_gets_one(
    site: Site, given: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {} if given is None else {b"X-Request-ID": given.encode()}
    first = await site.client.get("/health/live", headers=headers)
    second = await site.client.get("/nothing", headers=headers)
    ids = [response.headers["x-request-id"] for response in (first, second)]
    assert len(set(ids)) == 2
    assert all(len(each) == 32 and each.isalnum() for each in ids)
    assert [vars(record)["request_id"] for record in caplog.records[-2:]] == ids


async def test_the_detail_says_the_first_fault_in_words(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/api/slm-users", json={"username": "a b", "email": 5})
    problem = answer.json()
    assert (answer.status_code, len(problem["errors"])) == (422, 2)
    assert problem["detail"] == (
        "The request is not valid. username: Use letters, digits and underscores only."
        " (1 more in `errors`.)"
    )
