"""The SLM server as its clients see it: through nginx and TLS."""

from __future__ import annotations

import json
import socket
import ssl
import time

import httpx2
import pytest
from testinfra.host import Host

from tests.lab.site import (
    Administrator,
    Figure,
    Request,
    Site,
    bearer,
    load,
    must,
    superuser,
    unique,
    wait_until,
)

UNIT = "autobot-slm-users.service"
SERVICES = [("slm", UNIT), ("backend", "autobot-auth.service")]
HOUSEKEEPING = "autobot-slm-housekeeping.service"
TIMER = "autobot-slm-housekeeping.timer"

# Asks from a host of the site what the site's clients ask, with the standard library alone.
# argv: method, URL, JSON body or nothing, then headers as name=value.
ASK = """
import http.client, json, ssl, sys, urllib.parse
method, url, body, *headers = sys.argv[1:]
parts = urllib.parse.urlsplit(url)
if parts.scheme == "https":
    context = ssl.create_default_context(cafile="/etc/autobot-users/tls/ca.crt")
    connection = http.client.HTTPSConnection(parts.netloc, timeout=10, context=context)
else:
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
named = dict(header.split("=", 1) for header in headers)
if body == "-":
    body = sys.stdin.read()
if body:
    named["Content-Type"] = "application/json"
connection.request(method, parts.path or "/", body or None, named)
answer = connection.getresponse()
print(json.dumps([answer.status, dict(answer.getheaders()), answer.read().decode()]))
"""


def ask(
    name: str, method: str, url: str, body: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a request from a host of the site; the body goes by stdin."""
    named = [f"{key.replace('_', '-')}={value}" for key, value in headers.items()]
    output = must(name, "python3", "-c", ASK, method, url, "-" if body else "", *named, stdin=body)
    status, answered, text = json.loads(output)
    return status, answered, text


def new_user(name: str) -> dict[str, object]:
    return {
        "username": name,
        "password": "TestPass123!",
        "email": f"{name}@autobot.local",
        "is_admin": False,
    }


def test_an_administrator_creates_an_autobot_user(api: httpx2.Client) -> None:
    name = unique("testuser")
    created = api.post("/api/autobot-users", json=new_user(name))
    assert created.status_code == 201, created.text
    assert created.json()["email"] == f"{name}@autobot.local"
    query = "SELECT email FROM users WHERE username = :'name'"
    assert superuser("redis", "autobot_users", query, name=name) == [[f"{name}@autobot.local"]]
    assert superuser("slm", "slm_users", query, name=name) == []


def test_an_administrator_creates_a_fleet_administrator_who_logs_in(
    site: Site, api: httpx2.Client
) -> None:
    name = unique("fleet")
    created = api.post("/api/slm-users", json={**new_user(name), "is_admin": True})
    assert created.status_code == 201, created.text
    with site.client() as client:
        login = client.post("/api/auth/login", json={"username": name, "password": "TestPass123!"})
        assert login.status_code == 200, login.text
        me = client.get("/api/slm-auth/me", headers=bearer(login))
    assert me.json()["username"] == name
    query = "SELECT email FROM users WHERE username = :'name'"
    assert superuser("redis", "autobot_users", query, name=name) == []


def test_a_one_time_password_is_worthless_after_its_change(
    site: Site, administrator: Administrator
) -> None:
    one_time = site.one_time["slm"]["password"]
    with site.client() as client:
        login = client.post(
            "/api/slm-auth/login",
            json={"username": administrator.username, "password": one_time},
        )
    assert login.status_code == 401


def test_a_logout_ends_the_session_at_once(site: Site, administrator: Administrator) -> None:
    with site.client() as client:
        client.headers.update(bearer(administrator.login(client)))
        assert client.get("/api/slm-auth/me").status_code == 200
        assert client.post("/api/slm-auth/logout").status_code == 204
        assert client.get("/api/slm-auth/me").status_code == 401


def test_the_service_is_ready_with_both_databases_at_head(site: Site) -> None:
    with site.client() as client:
        ready = client.get("/health/ready")
    assert ready.status_code == 200, ready.text
    assert {"slm", "autobot"} <= set(ready.json()["databases"]), ready.text


def test_clients_of_the_site_verify_the_server_by_name_and_address(site: Site) -> None:
    status, _, _ = ask("backend", "GET", f"https://{site.addresses['slm']}/health/live")
    assert status == 200


@pytest.mark.parametrize("port", [80, 8000])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_redirected_for_good(site: Site, port: int, method: str) -> None:
    address = site.addresses["slm"]
    status, headers, _ = ask("backend", method, f"http://{address}:{port}/api/slm-auth/me")
    assert status in {301, 308}
    assert headers["Location"] == f"https://{address}/api/slm-auth/me"


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_only_tls_1_2_and_later_is_spoken(
    site: Site, version: ssl.TLSVersion, accepted: bool
) -> None:
    context = ssl.create_default_context(cafile=str(site.ca))
    # The client must be willing to speak what the server is to refuse.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    url = httpx2.URL(site.slm_url)
    with socket.create_connection((url.host, url.port or 443), timeout=5) as connection:
        if accepted:
            with context.wrap_socket(connection, server_hostname=url.host) as tls:
                assert tls.version() == version.name.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
                context.wrap_socket(connection, server_hostname=url.host)


@pytest.mark.parametrize("path", ["/api/slm-auth/me", "/health/live", "/api/no-such-page"])
def test_answers_carry_the_security_headers(site: Site, path: str) -> None:
    with site.client() as client:
        headers = client.get(path).headers
    assert "max-age=" in headers["strict-transport-security"]
    assert int(headers["strict-transport-security"].split("max-age=")[1].split(";")[0]) >= 31536000
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert headers["cache-control"] == "no-store"
    assert not any(character.isdigit() for character in headers.get("server", ""))


def test_a_forged_forwarded_header_does_not_reach_the_audit_log(
    site: Site, api: httpx2.Client
) -> None:
    name = unique("traveller")
    created = api.post("/api/slm-users", json={**new_user(name), "is_admin": True})
    assert created.status_code == 201, created.text
    forged = "203.0.113.7"
    status, _, text = ask(
        "backend",
        "POST",
        f"https://{site.addresses['slm']}/api/slm-auth/login",
        json.dumps({"username": name, "password": "TestPass123!"}),
        X_Forwarded_For=forged,
        X_Real_IP=forged,
        Forwarded=f"for={forged}",
    )
    assert status == 200, text
    rows = superuser(
        "slm",
        "slm_users",
        "SELECT ip_address FROM audit_logs WHERE action = 'login_success' AND user_id = :'user'",
        user=created.json()["id"],
    )
    assert rows == [[site.addresses["backend"]]]


def test_a_failed_login_is_in_the_audit_log(site: Site, api: httpx2.Client) -> None:
    name = unique("forgetful")
    created = api.post("/api/slm-users", json=new_user(name))
    assert created.status_code == 201, created.text
    status, _, _ = ask(
        "backend",
        "POST",
        f"https://{site.addresses['slm']}/api/slm-auth/login",
        json.dumps({"username": name, "password": "not the password"}),
        User_Agent="tests/1.0",
    )
    assert status == 401
    rows = superuser(
        "slm",
        "slm_users",
        "SELECT outcome, ip_address, user_agent FROM audit_logs WHERE action = 'login_failed'"
        " AND :'user' IN (user_id::text, resource_id::text)",
        user=created.json()["id"],
    )
    assert len(rows) == 1
    assert rows[0][1:] == [site.addresses["backend"], "tests/1.0"]
    assert rows[0][0] != "success"


@pytest.mark.parametrize(("name", "unit"), SERVICES)
def test_the_service_is_sandboxed(
    hosts: dict[str, Host], figure: Figure, name: str, unit: str
) -> None:
    report = hosts[name].check_output("systemd-analyze security --no-pager %s", unit)
    exposure = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    figure(f"exposure of {unit}", f"{exposure}")
    assert exposure <= 2.0, report


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("slm", "nginx.service"),
        ("backend", "nginx.service"),
        ("slm", "postgresql@*-main.service"),
        ("redis", "postgresql@*-main.service"),
    ],
)
def test_what_the_services_need_is_hardened(figure: Figure, name: str, unit: str) -> None:
    properties = must(name, "systemctl", "show", "--property=Id,MainPID", "--value", unit)
    unit, pid = sorted(properties.split(), key=str.isdecimal)
    report = must(name, "systemd-analyze", "security", "--no-pager", unit)
    exposure = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    figure(f"exposure of {unit} on {name}", f"{exposure}")
    assert exposure <= 4.0, report
    # In force, not only written.
    assert "NoNewPrivs:\t1" in must(name, "cat", f"/proc/{pid}/status")


@pytest.mark.parametrize("name", ["slm", "backend"])
def test_the_web_server_serves_nothing_of_its_packages(name: str) -> None:
    assert must(name, "ls", "/etc/nginx/sites-enabled") == ""


def test_a_redirect_leads_to_the_site_whatever_the_client_calls_it(site: Site) -> None:
    address = site.addresses["slm"]
    for url, target in (
        (f"http://{address}:80/a", f"https://{address}/a"),
        (f"http://{address}:443/a", f"https://{address}/a"),
    ):
        status, headers, _ = ask("backend", "GET", url, Host="elsewhere.example")
        assert (status, headers["Location"]) == (308, target)
    name = "slm.autobot.internal"
    _, headers, _ = ask("backend", "GET", f"http://{address}:80/a", Host=name)
    assert headers["Location"] == f"https://{name}/a"


@pytest.mark.parametrize(("name", "unit"), SERVICES)
def test_the_service_runs_as_a_user_of_its_own(
    hosts: dict[str, Host], name: str, unit: str
) -> None:
    pid = must(name, "systemctl", "show", "--property=MainPID", "--value", unit)
    status = hosts[name].file(f"/proc/{pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("name", [name for name, _ in SERVICES])
def test_the_service_has_no_port_of_its_own(name: str) -> None:
    sockets = must(name, "ss", "-Hltnp").splitlines()
    served = {line.split()[3] for line in sockets if "uvicorn" in line or "python" in line}
    assert served == set()


def test_a_restart_of_the_service_fails_no_request(
    site: Site, administrator: Administrator, figure: Figure
) -> None:
    with site.client() as client:
        headers = bearer(administrator.login(client))
    paths = ("/api/slm-auth/me", "/api/autobot-users?limit=1", "/health/live")

    def get(path: str) -> Request:
        return lambda client: client.get(path, headers=headers)

    with load(site.client, *map(get, paths)) as seen:
        for _ in range(3):
            seen.wait_for(60)
            before = must("slm", "systemctl", "show", "--property=MainPID", UNIT)
            must("slm", "systemctl", "restart", UNIT)
            assert must("slm", "systemctl", "show", "--property=MainPID", UNIT) != before
        seen.wait_for(60)
    figure("requests during three restarts", f"{dict(seen.answers)}")
    assert set(seen.answers) == {200}
    assert seen.answers.total() >= 200


@pytest.mark.parametrize("name", ["slm", "redis", "backend"])
def test_every_unit_of_the_host_works(hosts: dict[str, Host], name: str) -> None:
    wait_until(
        lambda: hosts[name].run("systemctl is-system-running").stdout.strip() != "starting",
        "the system has started",
    )
    if name == "slm":
        # It may have met an outage that another test made.
        must("slm", "systemctl", "start", HOUSEKEEPING)
    assert hosts[name].run("systemctl --failed --plain --no-legend").stdout == ""
    wanted = {
        "slm": (
            "autobot-firewall",
            "nginx",
            "postgresql",
            "autobot-slm-users.socket",
            UNIT,
            TIMER,
        ),
        "redis": ("autobot-firewall", "postgresql"),
        "backend": ("autobot-firewall", "nginx", "autobot-auth.socket", "autobot-auth.service"),
    }
    for unit in wanted[name]:
        service = hosts[name].service(unit)
        assert service.is_running, unit
        assert service.is_enabled or unit == UNIT, unit


@pytest.mark.parametrize(("name", "database"), [("slm", "slm_users"), ("redis", "autobot_users")])
def test_old_rows_are_removed(name: str, database: str) -> None:
    rows = "SELECT count(*) FROM rate_limits WHERE scope = 'test' AND expires_at < now()"
    superuser(
        name,
        database,
        "INSERT INTO rate_limits (scope, key, expires_at) VALUES ('test', 'x', now())",
    )
    must("slm", "systemctl", "start", HOUSEKEEPING)
    assert superuser(name, database, rows) == [["0"]]


def test_the_timer_has_a_next_time_and_its_last_run_succeeded() -> None:
    must("slm", "systemctl", "start", HOUSEKEEPING)
    timer = must("slm", "systemctl", "show", "--property=NextElapseUSecRealtime", "--value", TIMER)
    assert timer != ""
    run = must(
        "slm", "systemctl", "show", "--property=Result,ExecMainStatus,NRestarts", HOUSEKEEPING
    )
    assert "Result=success" in run
    assert "ExecMainStatus=0" in run
    journal = must("slm", "journalctl", f"--unit={HOUSEKEEPING}", "--output=cat", "--lines=20")
    for population in ("slm", "autobot"):
        assert f"{population}: removed auth_sessions " in journal


def test_the_units_of_the_service_run_in_the_same_sandbox() -> None:
    names = must(
        *("slm", "sh", "-c"),
        "systemctl show autobot-slm-users | cut -d= -f1"
        " | grep -E '^(Protect|Private|Restrict|Lock|Memory.*Exec|NoNew|SystemCall|IPAddress)'",
    )
    properties = f"--property={','.join(names.split())}"
    backend, housekeeping = (
        must("slm", "systemctl", "show", properties, unit) for unit in (UNIT, HOUSEKEEPING)
    )
    assert backend == housekeeping
    assert "ProtectSystem=strict" in backend


def test_the_first_request_after_a_stop_starts_the_service(site: Site, figure: Figure) -> None:
    must("slm", "systemctl", "stop", UNIT)
    start = time.monotonic()
    with site.client() as client:
        assert client.get("/health/live").status_code == 200
    figure("first answer of a stopped service", f"{time.monotonic() - start:.1f} s")
