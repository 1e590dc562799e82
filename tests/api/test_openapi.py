"""The API's description: complete, up to date, and true."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from fastapi import FastAPI

from autobot_backend.app import create_app as create_backend
from autobot_backend.examples import EXAMPLES as BACKEND_EXAMPLES
from slm_server.app import create_app
from slm_server.examples import EXAMPLES as SLM_EXAMPLES
from tests.support.applications import Backend, Site
from tests.support.budgets import budget
from tests.support.web_server import served
from user_management.population import Population
from user_management_web.problems import MEDIA_TYPE, PROBLEMS

ROOT = Path(__file__).parents[2]
FUZZING = ROOT / "tests/support/fuzzing"
METHODS = {"get", "post", "patch", "delete"}
EXAMPLES = {"slm": SLM_EXAMPLES, "backend": BACKEND_EXAMPLES}
DOCUMENTS = {"slm": create_app().openapi(), "backend": create_backend().openapi()}
# Each value at each of its bounds takes most of the time.
PHASES = budget(small="examples,fuzzing", full="examples,coverage,fuzzing,stateful")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The SLM server's."""
    return DOCUMENTS["slm"]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("slm_server.describe.openapi", "docs/openapi.json"),
        ("autobot_backend.openapi", "docs/openapi-backend.json"),
    ],
)
def test_the_published_document_is_that_of_the_application(module: str, file: str) -> None:
    written = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={"PYTHONPATH": "service"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / file).read_text() == written.stdout, (
        f"run: PYTHONPATH=service python -m {module} > {file}"
    )


def test_every_problem_is_in_the_guide_for_clients() -> None:
    guide = (ROOT / "docs/api-problems.md").read_text()
    for code, (status, title) in PROBLEMS.items():
        assert f"| `{code}` | {status} | {title} |" in guide


def test_the_routes_are_those_that_exist(document: dict[str, Any]) -> None:
    routes = {f"{method.upper()} {path}" for path, method, _ in operations(document)}
    users = {
        f"{method} /api/{population}-users{suffix}"
        for population in ("slm", "autobot")
        for method, suffix in (
            ("POST", ""),
            ("GET", ""),
            ("POST", "/import"),
            ("GET", "/export"),
            ("GET", "/{user_id}"),
            ("PATCH", "/{user_id}"),
            ("DELETE", "/{user_id}"),
            ("POST", "/{user_id}/roles"),
            ("GET", "/{user_id}/roles"),
            ("DELETE", "/{user_id}/roles/{role_id}"),
            ("GET", "/{user_id}/sessions"),
            ("DELETE", "/{user_id}/sessions"),
            ("DELETE", "/{user_id}/sessions/{session_id}"),
            ("POST", "/{user_id}/reset-password"),
            ("GET", "/{user_id}/lock"),
            ("POST", "/{user_id}/unlock"),
        )
    }
    roles = {
        f"{method} /api/{population}-roles{suffix}"
        for population in ("slm", "autobot")
        for method, suffix in (
            ("POST", ""),
            ("GET", ""),
            ("GET", "/{role_id}"),
            ("PATCH", "/{role_id}"),
            ("DELETE", "/{role_id}"),
        )
    }
    assert routes == users | roles | {
        "GET /api/permissions",
        "POST /api/slm-auth/login",
        "GET /api/slm-auth/me",
        "POST /api/slm-auth/logout",
        "POST /api/slm-auth/change-password",
        "POST /api/slm-auth/confirm",
        "POST /api/slm-auth/refresh",
        "POST /api/slm-auth/browser/login",
        "POST /api/slm-auth/browser/refresh",
        "POST /api/slm-auth/browser/logout",
        "GET /api/slm-auth/sessions",
        "DELETE /api/slm-auth/sessions",
        "DELETE /api/slm-auth/sessions/{session_id}",
        "POST /api/auth/login",
        "GET /api/audit-logs",
        "GET /api/audit-logs/export",
        "GET /api/audit-logs/{audit_id}",
        "GET /api/security/audit-logs",
        "GET /api/security/audit-logs/{log_id}",
        "POST /api/auth/refresh",
        "GET /api/auth/me",
        "POST /api/auth/users",
        "GET /api/health",
        "GET /api/health/database",
        "POST /api/organizations",
        "GET /api/organizations",
        "GET /api/organizations/slug/{slug}",
        "GET /api/organizations/{org_id}",
        "GET /api/organizations/{org_id}/stats",
        "PATCH /api/organizations/{org_id}",
        "POST /api/organizations/{org_id}/activate",
        "POST /api/organizations/{org_id}/deactivate",
        "DELETE /api/organizations/{org_id}",
        "POST /api/autobot-teams",
        "GET /api/autobot-teams",
        "GET /api/autobot-teams/{team_id}",
        "PATCH /api/autobot-teams/{team_id}",
        "DELETE /api/autobot-teams/{team_id}",
        "GET /api/autobot-teams/{team_id}/members",
        "POST /api/autobot-teams/{team_id}/members",
        "PATCH /api/autobot-teams/{team_id}/members",
        "PATCH /api/autobot-teams/{team_id}/members/{user_id}",
        "DELETE /api/autobot-teams/{team_id}/members/{user_id}",
        "GET /api/autobot-users/{user_id}/teams",
        "GET /api/openapi.json",
        "GET /health/live",
        "GET /health/ready",
        "GET /.well-known/jwks.json",
    }


def test_the_routes_of_the_backend() -> None:
    """Those of AutoBot that let people in, and none that manages anybody."""
    routes = {f"{method.upper()} {path}" for path, method, _ in operations(DOCUMENTS["backend"])}
    assert routes == {
        "POST /api/auth/login",
        "GET /api/auth/me",
        "GET /api/auth/check",
        "POST /api/auth/refresh",
        "POST /api/auth/logout",
        "POST /api/auth/change-password",
        "GET /api/health",
        "GET /api/health/database",
        "GET /health/live",
        "GET /health/ready",
        "GET /.well-known/jwks.json",
    }


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_operations_have_names_and_their_errors_are_problems(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and path not in {"/health/ready", "/api/health/database"}:
                assert list(response["content"]) == [MEDIA_TYPE], (path, status)
        assert "500" in operation["responses"]


def json_schema_of(content: dict[str, Any]) -> str | None:
    """The name of the schema that a body has, None for what is no JSON of ours."""
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2] or None


@pytest.mark.parametrize("application", DOCUMENTS)
def test_what_is_sent_and_answered_has_an_example(application: str) -> None:
    document, named = DOCUMENTS[application], set()
    for path, _, operation in operations(document):
        bodies = [operation.get("requestBody", {}).get("content", {})]
        if path.startswith("/api/") and not path.startswith(("/api/security", "/api/health")):
            bodies += [answer.get("content", {}) for answer in operation["responses"].values()]
        named |= {name for name in map(json_schema_of, bodies) if name}
    assert named <= set(EXAMPLES[application])


@pytest.mark.parametrize(
    ("application", "name"),
    [(application, name) for application in EXAMPLES for name in EXAMPLES[application]],
)
def test_examples_are_as_described(application: str, name: str) -> None:
    document, example = DOCUMENTS[application], EXAMPLES[application][name]
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(example)
    assert document["components"]["schemas"][name]["examples"] == [example]


def test_who_needs_a_token(document: dict[str, Any]) -> None:
    without = {path for path, _, operation in operations(document) if "security" not in operation}
    assert without == {
        "/api/slm-auth/login",
        "/api/slm-auth/refresh",
        "/api/slm-auth/browser/login",
        "/api/auth/login",
        "/api/health",
        "/api/health/database",
        "/health/live",
        "/health/ready",
        "/.well-known/jwks.json",
    }
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_only_administrators_read_it(
    admin: httpx2.AsyncClient, document: dict[str, Any]
) -> None:
    response = await admin.get("/api/openapi.json")
    assert (response.status_code, response.json()) == (200, document)
    del admin.headers["Authorization"]
    assert (await admin.get("/api/openapi.json")).status_code == 401


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/api/docs", "/api/slm-users/"]
)
async def test_there_is_no_other_way_to_it(admin: httpx2.AsyncClient, path: str) -> None:
    assert (await admin.get(path)).status_code == 404


async def fuzz(
    app: FastAPI, headers: dict[str, str], schema: Path, *arguments: str, max_examples: int
) -> str:
    """Let schemathesis try the served application, all checks on; its report."""
    await asyncio.to_thread(schema.write_text, json.dumps(app.openapi()))
    async with served(app) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "--config-file", str(FUZZING / "schemathesis.toml")),
            *("run", str(schema)),
            *("--url", url),
            *("--header", f"Authorization: {headers['Authorization']}"),
            # checks.py has a better one.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--generation-deterministic", "--phases", PHASES),
            *("--max-examples", str(max_examples), *arguments),
            cwd=schema.parent,
            env=os.environ | {"SCHEMATHESIS_HOOKS": str(FUZZING / "checks.py")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        report, _ = await process.communicate()
    assert process.returncode == 0, report.decode()
    return report.decode()


async def test_requests_of_all_kinds_are_answered_as_described(
    site: Site, tmp_path: Path, document: dict[str, Any]
) -> None:
    report = await fuzz(
        site.app,
        await site.administrate(),
        tmp_path / "openapi.json",
        *("--exclude-operation-id", "logout"),
        max_examples=budget(small=4, full=10),
    )
    # All of them, but for the logout: who ends the session is tried alone.
    assert f"Tested: {len(list(operations(document))) - 1}" in report
    # Were the session lost on the way, all the rest would only be refused.
    done = {row["action"] for each in Population for row in site.audit(each, "user_%")}
    assert {"user_created", "user_updated"} <= done


async def test_logout_is_answered_as_described(site: Site, tmp_path: Path) -> None:
    report = await fuzz(
        site.app,
        await site.administrate(),
        tmp_path / "openapi.json",
        *("--include-operation-id", "logout"),
        max_examples=10,
    )
    assert "Tested: 1" in report


@pytest.mark.parametrize("which", ["include", "exclude"])
async def test_requests_of_the_backend_are_answered_as_described(
    site: Site, backend: Backend, tmp_path: Path, which: str
) -> None:
    await site.add_user(Population.AUTOBOT, "marta")
    report = await fuzz(
        backend.app,
        await backend.login("marta"),
        tmp_path / "openapi.json",
        *(f"--{which}-operation-id", "logout"),
        max_examples=budget(small=5, full=25),
    )
    others = len(list(operations(DOCUMENTS["backend"]))) - 1
    assert f"Tested: {1 if which == 'include' else others}" in report
