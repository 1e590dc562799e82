"""The web server's site of a service: where it listens, whom it believes, and what it serves."""

import re
from typing import Any

import pytest
import yaml

from slm_server.api.transfer import FILES
from tests.support.role_files import ROOT, render, role_vars

SERVICE = {
    **yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text()),
    **yaml.safe_load((ROOT / "roles/service/defaults/main.yml").read_text()),
    "service_name": "auth",
    "service_title": "authentication service",
    "service_hosts": ["backend.autobot.internal", "10.0.0.20"],
    "service_port": 8443,
    "service_socket": "/run/autobot-auth/auth.sock",
    "service_root": "/opt/autobot-users/auth",
    "service_ipv6": True,
}


def site(**changes: Any) -> str:
    return render("service", "etc/nginx/conf.d/site.conf.j2", **{**SERVICE, **changes})


@pytest.mark.parametrize("proxies", [[], ["10.0.0.21"], ["10.0.0.21", "10.0.0.22"]])
def test_only_named_proxies_are_believed(proxies: list[str]) -> None:
    text = site(service_proxies=proxies)
    assert re.findall(r"set_real_ip_from (.+);", text) == proxies
    assert ("real_ip_recursive on;" in text) is bool(proxies)


def test_the_service_hears_of_one_address_only() -> None:
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in site(service_proxies=["10.0.0.21"])


def test_what_a_client_says_of_itself_and_its_way_does_not_reach_the_service() -> None:
    text = site()
    assert re.findall(r"proxy_set_header (\S+) (.+);", text) == [
        ("Connection", "close"),
        ("Host", "$host:8443"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Proto", "$scheme"),
        ("Forwarded", '""'),
    ]


def test_tls_is_new_and_keeps_no_key_that_opens_what_was_recorded() -> None:
    text = site()
    assert re.findall(r"^ *ssl_(\w+) (.+);", text, re.MULTILINE) == [
        ("certificate", "/etc/autobot-users/tls/https.crt"),
        ("certificate_key", "/etc/autobot-users/tls/https.key"),
        ("protocols", "TLSv1.2 TLSv1.3"),
        ("ciphers", "ECDHE+AESGCM:ECDHE+CHACHA20"),
        ("session_cache", "shared:autobot_auth:1m"),
        ("session_tickets", "off"),
    ]


def test_browsers_come_back_over_tls_for_a_year() -> None:
    values = re.findall(r"add_header Strict-Transport-Security (.+);", site())
    assert set(values) == {'"max-age=31536000" always'}


@pytest.mark.parametrize(("port", "suffix"), [(443, ""), (8443, ":8443")])
def test_plain_http_is_led_to_the_port_of_the_service(port: int, suffix: str) -> None:
    text = site(service_port=port, service_redirect_ports=[80])
    targets = re.findall(r"308 (https://.+)\$request_uri;", text)
    assert targets == [f"https://$autobot_auth_host{suffix}"] * 2


def test_no_redirect_leads_to_a_name_that_is_not_the_services() -> None:
    text = site(service_redirect_ports=[80])
    ((known, names),) = re.findall(r"map \$host \$(\w+_host) \{\n(.+?)\}", text, re.DOTALL)
    assert known == "autobot_auth_host"
    leads = dict(line.strip(" ;").split() for line in names.splitlines())
    assert leads.pop("default") == "10.0.0.20"
    assert leads == {
        name: name for name in ("backend.autobot.internal", "10.0.0.20", "localhost", "127.0.0.1")
    }
    # What the client calls the host goes to the service, and nowhere else.
    assert [line.strip() for line in text.splitlines() if "$host" in line] == [
        "map $host $autobot_auth_host {",
        "proxy_set_header Host $host:8443;",
    ]


def test_one_address_has_a_part_of_the_web_server_and_not_all_of_it() -> None:
    text = site(service_redirect_ports=[80])
    assert "limit_conn_zone $binary_remote_addr zone=autobot_auth_requests:1m;" in text
    assert re.findall(r"^    limit_conn (\w+) (\d+);", text, re.MULTILINE) == [
        ("autobot_auth_requests", "2500")
    ]
    assert "limit_conn_status 429;" in text
    assert "add_header Retry-After 5 always;" in locations(text)["^~ /.problem/"]
    # Who says nothing is gone after ten seconds, on plain HTTP too.
    assert text.count("client_header_timeout 10s;") == text.count("server {") == 2


def test_the_log_holds_addresses_without_what_is_asked_there() -> None:
    text = site(service_redirect_ports=[80], service_pages="admin_ui")
    (name, form), *others = re.findall(r"log_format (\S+) '(.+)';", text)
    assert not others
    logs = re.findall(r"access_log \S+ (\S+);", text)
    assert logs == [name] * text.count("server {")
    assert "$request_method $autobot_auth_path" in form
    assert not re.search(r"\$(request|request_uri|args|query_string|http_referer)\b", form)
    assert re.search(r'map \$request_uri \$autobot_auth_path \{\s+"~\^\(\?<\w+>\[\^\?\]\*\)"', text)


def test_no_answer_is_kept_on_the_disk() -> None:
    """Only what stands outside all locations holds for each of them."""
    text = site(service_pages="admin_ui", service_upload_paths=["/api/slm-users/import"])
    assert re.findall(r"^( *)proxy_max_temp_file_size 0;", text, re.MULTILINE) == [" " * 4]
    assert text.count("proxy_max_temp_file_size") == 1


def test_files_are_handed_on_while_they_come_and_nothing_else_is() -> None:
    assert "client_max_body_size 0;" not in site()
    text = site(service_upload_paths=["/api/slm-users/import", "/api/autobot-users/import"])
    locations = re.findall(r"location (.+) {([^}]+)}", text)
    files = {address: inside for address, inside in locations if address.endswith("/import")}
    assert files.keys() == {"= /api/slm-users/import", "= /api/autobot-users/import"}
    for inside in files.values():
        assert "proxy_pass http://autobot_auth;" in inside
        assert "client_max_body_size 0;" in inside
        assert "proxy_request_buffering off;" in inside
    assert text.count("client_max_body_size 64k;") == 1


def test_the_addresses_for_files_are_those_of_the_application() -> None:
    tasks = yaml.safe_load((ROOT / "roles/slm_server/tasks/install.yml").read_text())
    assert set(tasks[0]["vars"]["service_upload_paths"]) == FILES.keys()


@pytest.mark.parametrize("ports", [[], [80, 8000]])
def test_listens_where_it_is_told_and_nowhere_else(ports: list[int]) -> None:
    text = site(service_redirect_ports=ports)
    assert [int(port) for port in re.findall(r"listen (\d+)", text)] == [*ports, 8443]
    assert re.findall(r"listen \[::\]:(\d+ .+);", text) == [
        *(f"{port} default_server" for port in ports),
        "8443 ssl default_server",
    ]


def test_listens_on_ipv6_where_the_host_has_it() -> None:
    assert "[::]" not in site(service_ipv6=False, service_redirect_ports=[80])


def locations(text: str) -> dict[str, str]:
    """The site's locations; those of nginx's own errors count as one."""
    found = re.findall(r"^    location (.+?) \{\n(.*?)^    \}", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def test_without_pages_the_service_answers_everywhere() -> None:
    text = site()
    assert list(locations(text)) == ["/", "^~ /.problem/"]
    assert "proxy_pass http://autobot_auth;" in locations(text)["/"]
    # One that is closed before it was read is sent once more.
    assert text.count("server unix:/run/autobot-auth/auth.sock max_fails=0;") == 2
    assert "proxy_next_upstream error;" in text
    assert "root " not in text


def test_with_pages_the_service_answers_below_its_addresses() -> None:
    text = site(
        service_pages="admin_ui",
        service_page_prefix="/own",
        service_page_paths=["login", "settings"],
    )
    service, page, slash, change, assets, former, others, _ = locations(text)
    assert (slash, locations(text)[slash].strip()) == ("= /own", "return 302 /own/;")
    assert locations(text)[change].strip() == "return 302 /own/settings/account;"
    assert locations(text)[former].strip() == "return 302 /own$request_uri;"
    assert [change, others] == ["= /.well-known/change-password", "/"]
    assert assets == "~ ^/own(?<autobot_auth_file>/assets/.*)$"
    assert [where for where, body in locations(text).items() if "proxy_pass" in body] == [service]
    pattern = re.compile(service.removeprefix("~ "))
    for path in ("/api", "/api/slm-auth/me", "/health/live", "/.well-known/jwks.json"):
        assert pattern.search(path), path
    for path in ("/", "/apiary", "/assets/api/x.js", "/settings/api/", "/xwell-known/"):
        assert not pattern.search(path), path
    pages, before = (re.compile(where.removeprefix("~ ")) for where in (page, former))
    for path in ("/", "/login", "/settings", "/settings/admin/users"):
        assert pages.search(f"/own{path}"), path
        assert before.search(path), path
    assert pages.search("/own/index.html")
    for path in (
        "/own",
        "/apiary",
        "/autobot-api/x",
        "/grafana/",
        "/loginx",
        "/x/login",
        "/index.html/x",
    ):
        assert not pages.search(path), path
        assert not before.search(path), path
    assert locations(text)["/"].strip() == "return 404;"


def test_the_pages_addresses_are_those_of_the_router() -> None:
    tasks = yaml.safe_load((ROOT / "roles/slm_server/tasks/install.yml").read_text())
    router = (ROOT / "service/admin_ui/src/router.ts").read_text()
    paths = re.findall(r"^ {2,4}(?:\{ )?path: '/([a-z][a-z-]*)'", router, re.MULTILINE)
    assert sorted(tasks[0]["vars"]["service_page_paths"]) == sorted(paths)
    built = (ROOT / "service/admin_ui/vite.config.ts").read_text()
    assert f"base: '{tasks[0]['vars']['service_page_prefix']}/'," in built


def test_pages_come_from_the_release_in_use_and_assets_from_the_last_one_too() -> None:
    text = locations(site(service_pages="admin_ui"))
    (page,) = [where for where in text if where.startswith("~ ^/(index")]
    assert "try_files /current/admin_ui/index.html =404;" in text[page]
    (assets,) = [body for where, body in text.items() if "/assets/" in where]
    file = "$autobot_auth_file"
    assert f"try_files /current/admin_ui{file} /previous/admin_ui{file} =404;" in assets


@pytest.mark.parametrize("pages", ["", "admin_ui"])
def test_each_place_that_adds_headers_adds_all(pages: str) -> None:
    """nginx forgets the headers of the server where a location has one of its own."""
    text = site(service_pages=pages)
    blocks = re.split(r"[{}]", text)
    adding = [block for block in blocks if "add_header" in block]
    assert len(adding) == (6 if pages else 3)
    for block in adding:
        names = re.findall(r"add_header (\S+)", block)
        assert {
            "Content-Security-Policy",
            "Referrer-Policy",
            "Strict-Transport-Security",
            "X-Content-Type-Options",
            "X-Frame-Options",
        } <= set(names)
        assert len(names) == len(set(names))


@pytest.mark.parametrize("pages", ["", "admin_ui"])
def test_only_files_are_sent_compressed(pages: str) -> None:
    text = site(service_pages=pages)
    assert re.findall(r"^    gzip (\w+);", text, re.MULTILINE) == ["off"]
    compressed = [where for where, body in locations(text).items() if "gzip" in body]
    assert ["index" in where or "/assets/" in where for where in compressed] == (
        [True, True] if pages else []
    )


def test_the_pages_may_do_nothing_that_is_not_named() -> None:
    policy = SERVICE["service_pages_policy"]
    assert policy[0] == "default-src 'none'"
    assert not [rule for rule in policy if "unsafe" in rule or "*" in rule or ":" in rule]
    assert f'"{"; ".join(policy)}" always;' in site(service_pages="admin_ui")


def test_a_unit_reaches_the_site_and_has_no_rights_of_root() -> None:
    text = render(
        "service",
        "etc/systemd/system/sandbox.j2",
        **{
            **SERVICE,
            "service_credentials_dir": "/etc/autobot-users/credentials",
            "service_environment_file": "/etc/autobot-users/auth.env",
            "service_loaded_credentials": ["signing_key"],
            "service_subnet": "192.0.2.0/24",
        },
    )
    settings = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
    assert [each for each in settings if "Address" in each[0] or "Bind" in each[0]] == [
        ("IPAddressDeny", "any"),
        ("IPAddressAllow", "localhost 192.0.2.0/24"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET"),
        ("SocketBindDeny", "any"),
    ]
    assert [value for name, value in settings if name == "SystemCallFilter"] == [
        *("@system-service", "~@privileged @resources", "setpriority")
    ]
    # Secrets come as credentials: neither an argument nor a variable has one.
    assert ("LoadCredential", "signing_key:/etc/autobot-users/credentials/signing_key") in settings
    assert (
        dict(settings).items()
        >= {
            "DynamicUser": "yes",
            "UMask": "0077",
            "CapabilityBoundingSet": "",
            "AmbientCapabilities": "",
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "ProtectProc": "invisible",
            "PrivateDevices": "yes",
            "PrivateTmp": "yes",
            "MemoryDenyWriteExecute": "yes",
            "LimitCORE": "0",
        }.items()
    )


def test_only_the_web_server_reaches_the_socket() -> None:
    text = render("service", "etc/systemd/system/unit.socket.j2", **SERVICE)
    assert (
        dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)).items()
        >= {
            "ListenStream": "/run/autobot-auth/auth.sock",
            "SocketUser": "root",
            "SocketGroup": "www-data",
            "SocketMode": "0660",
        }.items()
    )


def test_the_environment_is_what_is_given_and_no_secret() -> None:
    text = render(
        "service",
        "etc/autobot-users/service.env.j2",
        service_environment={"B_HOST": "::1", "A": "1, 2"},
    )
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "B_HOST=::1",
        "A=1, 2",
    ]


@pytest.mark.parametrize("role", ["slm_server", "autobot_backend"])
def test_a_service_verifies_its_databases_and_owns_none(role: str) -> None:
    variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())
    environment = variables[f"{role}_environment"]
    populations = {name.partition("_")[0] for name in environment if name.endswith("_HOST")}
    assert populations == ({"SLM", "AUTOBOT"} if role == "slm_server" else {"AUTOBOT"})
    for name in populations:
        assert environment[f"{name}_POSTGRES_SSLROOTCERT"] == "/etc/autobot-users/tls/ca.crt"
        assert environment[f"{name}_POSTGRES_USER"] in {"slm_service", "autobot_backend"}
        assert environment[f"{name}_POSTGRES_DB"] == f"{name.lower()}_users"
    assert not [name for name in environment if re.search("PASSWORD|KEY|SECRET", name)]


def test_the_owners_passwords_are_for_migrations_only() -> None:
    variables = yaml.safe_load((ROOT / "roles/slm_server/vars/main.yml").read_text())
    owners = {each["credential"] for each in variables["slm_server_databases"]}
    known = set(variables["slm_server_own_credentials"])
    assert owners == {"slm_admin_password", "autobot_user_admin_password"} < known
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, set()),
        ({"routes": []}, {"gateway_secret"}),
    ]
    for gateway, more in cases:
        loaded = role_vars("slm_server", slm_server_gateway=gateway)
        assert set(loaded("slm_server_service_credentials")) == (known - owners) | more
    tasks = yaml.safe_load((ROOT / "roles/slm_server/tasks/alembic.yml").read_text())
    command = tasks[0]["block"][0]["vars"]["command"]
    assert command[:6] == [
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=DynamicUser=yes"),
    ]
    # One owner's at a time, and in no argument.
    (credential,) = (word for word in command if "Credential" in word)
    assert credential.endswith("/{{ item.credential }}")


def test_a_release_judges_its_settings_without_rights() -> None:
    tasks = yaml.safe_load((ROOT / "roles/service/tasks/configure.yml").read_text())
    (command,) = (task["vars"]["command"] for task in tasks if "vars" in task)
    for word in ("--property=DynamicUser=yes", "--property=EnvironmentFile=", "--collect"):
        assert word in command
    assert "--property=LoadCredential=" in command


@pytest.mark.parametrize(
    ("playbook", "written"), [("services.yml", "install"), ("configure_services.yml", "configure")]
)
@pytest.mark.parametrize("role", ["slm_server", "autobot_backend"])
def test_the_playbook_switches_between_what_is_written_and_what_serves(
    role: str, playbook: str, written: str
) -> None:
    [play] = yaml.safe_load((ROOT / "playbooks/parts" / playbook).read_text())
    [change] = (task["block"] for task in play["tasks"] if "block" in task)
    steps = []
    for task in change:
        used = task.get("ansible.builtin.import_role") or task["ansible.builtin.include_role"]
        if f"'{role}' in group_names" in task.get("when", ""):
            steps.append((used["name"], used.get("tasks_from", "main")))
    last = steps.index((role, "main"))
    assert steps[last - 2 :] == [(role, written), ("release", "activate"), (role, "main")]
