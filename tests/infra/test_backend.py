"""The AutoBot backend as its clients see it, whatever happens to the other hosts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.lab.site import (
    HOSTS,
    Administrator,
    Figure,
    Site,
    bearer,
    connect,
    host_down,
    inside,
    load,
    must,
    superuser,
    unique,
    wait_until,
)

UNIT = "autobot-auth.service"
PASSWORD = "violet-anchor-77-meadow"
FRONTEND = "https://172.16.168.21"
# All the connections that one backend has: those of its pool, and those that read callers.
MOST_CONNECTIONS = 14
# Packets to PostgreSQL vanish, those of existing connections too.
CUT = """
table inet tests_cut {
    chain output {
        type filter hook output priority -200; policy accept;
        tcp dport 5432 drop
    }
    chain input {
        type filter hook input priority -200; policy accept;
        tcp sport 5432 drop
    }
}
"""
# Looks, as root, for the lines of its stdin in all files of a host that are not the kernel's.
FIND = """
umask 077
patterns=$(mktemp)
trap 'rm -f "$patterns"' EXIT
cat > "$patterns"
grep -rlaF --devices=skip -f "$patterns" /etc /home /opt /root /run /srv /tmp /usr/local /var \
    2>/dev/null | grep -vFx "$patterns" || true
"""
# A page's request from an address of the host: argv: source address, URL, JSON body.
SUBMIT = """
import http.client, json, ssl, sys, urllib.parse
source, url, body = sys.argv[1:]
parts = urllib.parse.urlsplit(url)
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(
    parts.netloc, timeout=10, context=context, source_address=(source, 0)
)
headers = {"Content-Type": "application/json", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
connection.request("POST", parts.path, body, headers)
print(connection.getresponse().status)
"""


def pid() -> str:
    return must("backend", "systemctl", "show", "--property=MainPID", UNIT)


def log_in(client: httpx2.Client, username: str, password: str = PASSWORD) -> httpx2.Response:
    return client.post("/api/auth/login", json={"username": username, "password": password})


def token(login: httpx2.Response) -> dict[str, str]:
    """The header that a login gives."""
    assert login.status_code == 200, login.text
    return {"Authorization": f"Bearer {login.json()['token']}"}


@pytest.fixture
def marta(api: httpx2.Client) -> dict[str, str]:
    """An application user whom the SLM server has created."""
    name = unique("marta")
    created = api.post(
        "/api/autobot-users",
        json={"username": name, "email": f"{name}@autobot.local", "password": PASSWORD},
    )
    assert created.status_code == 201, created.text
    return {"id": created.json()["id"], "username": name, "email": f"{name}@autobot.local"}


@pytest.fixture
def client(site: Site) -> Iterator[httpx2.Client]:
    """A client of the backend."""
    with site.backend_client() as client:
        yield client


def test_the_plans_user_logs_in_whom_the_slm_server_created(
    api: httpx2.Client, client: httpx2.Client
) -> None:
    """Task 8.2, steps 2 to 4: both read one database."""
    name = unique("testuser")
    created = api.post(
        "/api/autobot-users",
        json={
            "username": name,
            "password": "TestPass123!",
            "email": f"{name}@autobot.local",
            "is_admin": False,
        },
    )
    assert created.status_code == 201, created.text
    login = log_in(client, name, "TestPass123!")
    assert login.json()["user"]["user_id"] == created.json()["id"]
    me = client.get("/api/auth/me", headers=token(login))
    assert (me.json()["username"], me.json()["role"]) == (name, "user")
    by_address = log_in(client, f"{name}@AutoBot.local", "TestPass123!")
    assert by_address.status_code == 200


def test_the_first_administrator_can_log_in(site: Site, client: httpx2.Client) -> None:
    first = site.one_time["autobot"]
    login = log_in(client, first["username"], first["password"])
    assert login.json()["must_change_password"] is True
    assert login.json()["user"]["role"] == "readonly"
    refused = client.get("/api/auth/me", headers=token(login))
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")


def test_a_token_of_one_population_is_worth_nothing_at_the_other(
    site: Site, administrator: Administrator, client: httpx2.Client, marta: dict[str, str]
) -> None:
    with site.client() as slm:
        of_slm = bearer(administrator.login(slm))
        of_autobot = token(log_in(client, marta["username"]))
        assert slm.get("/api/slm-auth/me", headers=of_slm).status_code == 200
        assert client.get("/api/auth/me", headers=of_autobot).status_code == 200
        assert slm.get("/api/slm-auth/me", headers=of_autobot).status_code == 401
        assert client.get("/api/auth/me", headers=of_slm).status_code == 401
        kids = [
            {key["kid"] for key in each.get("/.well-known/jwks.json").json()["keys"]}
            for each in (slm, client)
        ]
    assert kids[0].isdisjoint(kids[1])


@pytest.mark.parametrize(
    ("secret", "holder", "place"),
    [
        ("vault_slm_signing_key", "slm", "/etc/autobot-users/credentials/slm_signing_key"),
        (
            "vault_autobot_signing_key",
            "backend",
            "/etc/autobot-users/auth-credentials/autobot_signing_key",
        ),
    ],
)
def test_a_private_key_is_on_no_host_of_the_other_population(
    site: Site, secret: str, holder: str, place: str
) -> None:
    lines = [line for line in site.vault[secret].splitlines() if "-----" not in line]
    found = {
        name: must(name, "sh", "-c", FIND, stdin="\n".join(lines) + "\n").splitlines()
        for name in HOSTS
    }
    assert place in found[holder]
    assert [name for name in HOSTS if found[name] and name != holder] == []


def change(api: httpx2.Client, method: str, path: str, **json: object) -> None:
    answer = api.request(method, path, json=json or None)
    assert answer.status_code < 300, answer.text


@pytest.mark.alone
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "", {"is_active": False}, 401),
        ("DELETE", "", {}, 401),
        ("POST", "/reset-password", {}, 401),
        ("DELETE", "/sessions", {}, 401),
        ("PATCH", "", {"is_platform_admin": True}, 200),
    ],
)
def test_what_slm_does_is_felt_within_a_second(
    api: httpx2.Client,
    client: httpx2.Client,
    marta: dict[str, str],
    figure: Figure,
    method: str,
    path: str,
    body: dict[str, object],
    status: int,
) -> None:
    headers = token(log_in(client, marta["username"]))
    assert client.get("/api/auth/me", headers=headers).json()["role"] == "user"
    change(api, method, f"/api/autobot-users/{marta['id']}{path}", **body)
    start = time.monotonic()
    felt = client.get("/api/auth/me", headers=headers)
    seconds = time.monotonic() - start
    figure(f"{method} …{path} {body} felt", f"{seconds:.2f} s")
    assert felt.status_code == status
    assert status != 200 or felt.json()["role"] == "admin"
    assert seconds <= 1


def test_the_backend_works_while_the_slm_host_is_off(
    client: httpx2.Client, marta: dict[str, str]
) -> None:
    with host_down("slm"):
        login = log_in(client, marta["username"])
        headers = token(login)
        assert client.get("/api/auth/me", headers=headers).json()["username"] == marta["username"]
        refreshed = client.post(
            "/api/auth/refresh", json={"refresh_token": login.json()["refresh_token"]}
        )
        headers = token(refreshed)
        changed = client.post(
            "/api/auth/change-password",
            json={"current_password": PASSWORD, "new_password": "granite-otter-quilt-52"},
            headers=headers,
        )
        assert changed.status_code == 200, changed.text
        assert log_in(client, marta["username"]).status_code == 401
        assert log_in(client, marta["username"], "granite-otter-quilt-52").status_code == 200
        assert client.post("/api/auth/logout", headers=headers).status_code == 200
        assert client.get("/api/auth/me", headers=headers).status_code == 401
        assert client.get("/health/ready").status_code == 200


def assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.alone
def test_an_outage_of_the_database_is_said_and_heals(
    client: httpx2.Client, marta: dict[str, str], figure: Figure
) -> None:
    headers = token(log_in(client, marta["username"]))
    before = pid()
    slowest = 0.0
    calls: list[Callable[[], httpx2.Response]] = [
        lambda: client.get("/api/auth/me", headers=headers),
        lambda: log_in(client, marta["username"]),
        lambda: client.post("/api/auth/refresh", headers=headers),
        lambda: client.post("/api/auth/logout", headers=headers),
    ]
    with host_down("redis"):
        for call in calls:
            start = time.monotonic()
            assert_refused(call())
            slowest = max(slowest, time.monotonic() - start)
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
    healed = wait_until(lambda: calls[0]().status_code == 200, "the backend has healed", 15)
    figure("redis switched off", f"503 within {slowest:.2f} s, healed in {healed:.1f} s")
    assert slowest <= 3
    assert pid() == before


@contextmanager
def cut() -> Iterator[None]:
    """No packet passes between the backend and the database."""
    must("backend", "nft", "-f", "-", stdin=CUT)
    try:
        yield
    finally:
        must("backend", "nft", "delete", "table", "inet", "tests_cut")


def connections() -> tuple[int, int]:
    """The backend's connections, as the database sees them: all, and those at work."""
    [[total, busy]] = superuser(
        "redis",
        "autobot_users",
        "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity"
        " WHERE usename = 'autobot_backend'",
    )
    return int(total), int(busy)


@pytest.mark.alone
def test_a_network_that_is_cut_under_load_leaves_nothing_behind(
    site: Site, client: httpx2.Client, marta: dict[str, str], figure: Figure
) -> None:
    headers = token(log_in(client, marta["username"]))
    before = pid()
    wrong: list[str] = []

    def me(client: httpx2.Client) -> httpx2.Response:
        answer = client.get("/api/auth/me", headers=headers)
        if answer.status_code == 200 and answer.json()["username"] != marta["username"]:
            wrong.append(answer.text)
        return answer

    def check(client: httpx2.Client) -> httpx2.Response:
        answer = client.get("/api/auth/check", headers=headers)
        if answer.status_code == 200 and answer.json()["authenticated"] is not True:
            wrong.append(answer.text)
        return answer

    def login(client: httpx2.Client) -> httpx2.Response:
        answer = log_in(client, marta["username"])
        if answer.status_code == 200 and answer.json()["user"]["user_id"] != marta["id"]:
            wrong.append(answer.text)
        return answer

    with load(site.backend_client, me, check, login, threads=12) as seen:
        seen.wait_for(100)
        assert set(seen.answers) == {200}
        with cut():
            wait_until(lambda: seen.answers[503] >= 50, "requests are refused")
            time.sleep(3)
        healed = wait_until(lambda: client.get("/health/ready").status_code == 200, "ready", 15)
        refused = seen.answers[503]
        seen.wait_for(200)
        # What was under way when the network came back may still have been refused.
        assert seen.answers[503] - refused <= 12
    assert wrong == []
    assert set(seen.answers) == {200, 503}
    # A login waits for its hash besides.
    assert seen.slowest <= 6
    wait_until(
        lambda: connections()[0] <= MOST_CONNECTIONS and connections()[1] == 0,
        "the connections are as they were",
    )
    figure(
        "network cut under load",
        f"{dict(seen.answers)}, slowest {seen.slowest:.1f} s, healed in {healed:.1f} s,"
        f" then {connections()[0]} connections",
    )
    assert pid() == before


PROMOTE = "UPDATE users SET is_platform_admin = true"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO users (username, email) VALUES ('eve', 'eve@x')",
        PROMOTE,
        "INSERT INTO user_roles (user_id, role_id) SELECT users.id, roles.id FROM users, roles",
        "SELECT password_hash FROM users",
        "UPDATE users SET password_hash = 'x'",
        "SELECT config FROM sso_providers",
        "SELECT secret_encrypted FROM user_mfa",
        "SELECT key_hash FROM api_keys",
        "SELECT id FROM audit_logs",
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
    ],
)
def test_the_password_of_the_backends_role_opens_nothing(site: Site, sql: str) -> None:
    result = connect(
        "backend",
        site.vault["vault_autobot_backend_password"],
        sql,
        hostaddr=site.addresses["redis"],
        host="redis.autobot.internal",
        dbname="autobot_users",
        user="autobot_backend",
        sslmode="verify-full",
        sslrootcert="/etc/autobot-users/tls/ca.crt",
    )
    assert result.status != 0
    assert "permission denied" in result.stderr


def test_a_page_of_the_frontend_logs_in_stays_and_logs_out(
    client: httpx2.Client, marta: dict[str, str]
) -> None:
    """What a browser sends for the calls of AutoBot's frontend, which is another origin."""
    client.headers["Origin"] = FRONTEND
    for path, method in (("login", "POST"), ("me", "GET"), ("logout", "POST")):
        asked = client.options(
            f"/api/auth/{path}",
            headers={
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert asked.status_code == 200, asked.text
        assert asked.headers["access-control-allow-origin"] == FRONTEND
    login = log_in(client, marta["username"])
    assert login.headers["access-control-allow-origin"] == FRONTEND
    headers = token(login)
    assert client.get("/api/auth/check", headers=headers).json()["authenticated"] is True
    refreshed = client.post("/api/auth/refresh", headers=headers)
    assert refreshed.json()["expiresIn"] > 0
    headers = token(refreshed)
    assert client.get("/api/auth/me", headers=headers).json()["email"] == marta["email"]
    out = client.post(
        "/api/auth/logout", json={"session_id": login.json()["session_id"]}, headers=headers
    )
    assert out.status_code == 200
    refused = client.get("/api/auth/me", headers=headers)
    assert refused.status_code == 401
    # The page can read why.
    assert refused.headers["access-control-allow-origin"] == FRONTEND


def test_a_page_of_another_site_is_told_nothing(client: httpx2.Client) -> None:
    client.headers["Origin"] = "https://evil.example"
    assert "access-control-allow-origin" not in client.get("/api/auth/check").headers


@pytest.fixture
def frontend() -> Iterator[str]:
    """The outsider has the address of the frontend's host, too."""
    address = FRONTEND.removeprefix("https://")
    inside("outsider", "ip", "address", "replace", f"{address}/32", "dev", "eth0")
    yield address
    inside("outsider", "ip", "address", "delete", f"{address}/32", "dev", "eth0")


def test_only_the_frontend_says_for_whom_it_asks(
    site: Site, marta: dict[str, str], frontend: str
) -> None:
    own = inside("outsider", "hostname", "-I").stdout.split()[0]
    url = f"https://{site.addresses['backend']}:8443/api/auth/login"
    body = json.dumps({"username": marta["username"], "password": PASSWORD})
    for source in (frontend, own):
        sent = inside("outsider", "python3", "-c", SUBMIT, source, url, body)
        assert sent.stdout.strip() == "200", sent.text
    seen = superuser(
        "redis",
        "autobot_users",
        "SELECT ip_address FROM auth_sessions WHERE user_id = :'user_id' ORDER BY created_at",
        user_id=marta["id"],
    )
    assert seen == [["203.0.113.9"], [own]]
