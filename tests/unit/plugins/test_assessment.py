"""What a run would break on hosts that others use, what answers it, and how it is said."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from ansible_collections.autobot.users.plugins.plugin_utils.assessment import (
    Conflict,
    Host,
    conflicts,
    differences,
    document,
    extended,
    gateways,
    markdown_report,
    notes,
    proposal,
    refusal,
)
from tests.support.role_files import load_plugin
from tests.support.surveys import (
    BACKEND,
    DEBIAN,
    OLD_SITES,
    PACKAGED_HBA,
    POLICY,
    REDIS,
    SLM,
    SUBNET,
    UPSTREAM_HBA,
    cluster,
    deployed_site,
    directory,
    empty_site,
    listener,
    lived_in_redis,
    lived_in_site,
    lived_in_slm,
    server,
    store,
    survey,
    ufw,
    wanted,
)

ROOT = Path(__file__).parents[3]
mistakes = load_plugin("filter.gateway").gateway_mistakes
STRANGER = "172.16.168.77"
# A name that would be more than a name to each who reads it.
HOSTILE = '\x1b[2Jx"\n- |`{{ lookup("pipe", "id") }}` #\u202e'


def one(found: list[Conflict], kind: str) -> Conflict:
    """The only conflict of a kind."""
    (conflict,) = (it for it in found if it.kind == kind)
    return conflict


def entries(found: list[Conflict]) -> dict[str, Any]:
    """What all lines of conflicts say together, by variable."""
    said: dict[str, Any] = {}
    for conflict in found:
        if conflict.entries:
            for variable, values in yaml.safe_load(conflict.lines).items():
                said.setdefault(variable, []).extend(values)
    return said


class TestSites:
    @pytest.mark.parametrize("site", [empty_site, deployed_site])
    def test_of_a_new_site_and_of_ours_nothing_is_to_be_decided_nor_noted(
        self, site: Callable[[], list[Host]]
    ) -> None:
        hosts = site()
        assert conflicts(hosts) == []
        assert notes(hosts) == []
        assert proposal(hosts, []) == {}
        assert "Nothing must be decided." in markdown_report(hosts, [])

    def test_a_lived_in_site_has_all_conflicts_of_all_hosts_in_order(self) -> None:
        found = [(it.host, it.kind, it.port) for it in conflicts(lived_in_site())]
        assert found == [
            *(("slm", "port", port) for port in (80, 443, 8000)),
            ("slm", "configuration", 5432),
            *(("slm", "listener", port) for port in (3000, 5432, 9090)),
            *(("slm", "client", 5432) for _ in range(3)),
            ("slm", "firewall", 22),
            *(("redis", "listener", port) for port in (123, 6379, 9121)),
            ("redis", "users", 0),
            ("backend", "port", 8443),
            *(("backend", "listener", port) for port in (6080, 11434)),
        ]

    def test_what_is_proposed_answers_what_the_inventory_can_answer(self) -> None:
        site = lived_in_site()
        texts = proposal(site, conflicts(site))
        answered = []
        for host in site:
            text = texts[f"host_vars/{host.name}.yml"]
            said = yaml.safe_load(
                text.replace('"{{ site_networks }}"', f"[{SUBNET}]").replace(
                    "{{ address }}", host.address
                )
            )
            database = host.postgresql
            if database:
                database = {
                    **database,
                    "hba": database["hba"] + said.get("postgresql_hba", []),
                    "listen_addresses": database["listen_addresses"]
                    + said.get("postgresql_listen_addresses", []),
                }
            allow = said.get("firewall_allow", [])
            mode = said.get("firewall_mode", "own")
            answered.append(
                replace(
                    host,
                    allow=allow,
                    postgresql=database,
                    firewall_mode=mode,
                    adoption=said.get("adoption_source"),
                )
            )
        left = conflicts(answered)
        assert {(it.kind, it.port) for it in left if it.kind != "port"} == {("listener", 123)}
        assert not [it for it in left if it.entries]

    def test_what_is_proposed_is_yaml_as_the_repository_has_it(self) -> None:
        site = [
            replace(
                host,
                as_written={
                    "firewall_allow": [
                        "{{ mine }}",
                        {"ports": [1], "sources": [], "comment": 'x: "y\\z"'},
                    ],
                    "postgresql_hba": [{"database": "no", "role": "a", "addresses": "{{ b }}"}],
                },
            )
            for host in lived_in_site()
        ]
        texts = proposal(site, conflicts(site))
        assert set(texts) == {f"host_vars/{name}.yml" for name in ("slm", "redis", "backend")}
        rules = YamlLintConfig((ROOT / ".yamllint").read_text())
        for text in texts.values():
            assert [str(it) for it in linter.run(text, rules)] == []
            said = yaml.safe_load(text)
            # ufw of `slm` goes on letting in whom it lets in.
            if said.get("firewall_mode") == "additive":
                assert "firewall_allow" not in said
                continue
            assert said["firewall_allow"][:2] == [
                "{{ mine }}",
                {"ports": [1], "sources": [], "comment": 'x: "y\\z"'},
            ]
        assert yaml.safe_load(texts["host_vars/slm.yml"])["postgresql_hba"][0] == {
            "database": "no",
            "role": "a",
            "addresses": "{{ b }}",
        }


class TestListeners:
    @pytest.mark.parametrize(
        ("found", "firewalls", "sources"),
        [
            ([listener(6379, "redis-server")], {}, "{{ site_networks }}"),
            ([listener(6379, "redis-server", STRANGER, SLM)], {}, [SLM, STRANGER]),
            ([listener(6379, "redis", "::ffff:172.16.168.7", address="::")], {}, ["172.16.168.7"]),
            ([listener(6379, "redis", "fe80::7%eth0", address="::")], {}, ["fe80::7"]),
            # Two addresses of one program are one port.
            (
                [listener(6379, "redis", SLM), listener(6379, "redis", STRANGER, address="::")],
                {},
                [SLM, STRANGER],
            ),
            ([listener(6379, "redis", address="172.17.0.1")], {}, "{{ site_networks }}"),
            ([listener(6379, "redis", address="127.0.0.53")], {}, None),
            ([listener(6379, "redis", address="::1")], {}, None),
            # Who may reach it is what ufw says, and who is connected.
            ([listener(6379, "redis")], ufw(("6379", "172.16.168.0/25")), ["172.16.168.0/25"]),
            (
                [listener(6379, "redis", "10.0.0.7")],
                ufw(("6000:6400", STRANGER)),
                [STRANGER, "10.0.0.7"],
            ),
            ([listener(6379, "redis", STRANGER)], ufw(("6379", "any")), [SUBNET]),
            # Shut by ufw already: the run takes nothing from anybody.
            ([listener(6379, "redis")], ufw(("6378", "any")), None),
            ([listener(6379, "redis")], ufw(("6379", "any"), protocol="udp"), None),
            ([listener(6379, "redis", STRANGER)], ufw(), [STRANGER]),
            # And by a run before.
            ([listener(6379, "redis")], {"nftables": [POLICY]}, None),
            (
                [listener(6379, "redis")],
                {"nftables": [{**POLICY, "table": "f2b"}]},
                "{{ site_networks }}",
            ),
        ],
    )
    def test_what_others_reach_is_named_with_those_who_need_it(
        self, found: list[dict[str, Any]], firewalls: dict[str, Any], sources: Any
    ) -> None:
        host = wanted("redis", survey(listeners=found, firewalls=firewalls))
        listed = [it for it in conflicts([host]) if it.kind == "listener"]
        rule = {"ports": [6379], "sources": sources, "comment": found[0]["unit"][:-8]}
        assert entries(listed) == ({} if sources is None else {"firewall_allow": [rule]})

    @pytest.mark.parametrize(
        ("sources", "left"),
        [
            ([SUBNET], []),
            ([SLM, STRANGER], []),
            # Nobody is to reach it, and the inventory says so.
            ([], []),
            ([SLM], [STRANGER]),
            (["172.16.168.64/26"], [SLM]),
            (["fd16::/64"], [SLM, STRANGER]),
        ],
    )
    def test_a_rule_answers_for_the_clients_that_it_covers(
        self, sources: list[str], left: list[str]
    ) -> None:
        found = survey(listeners=[listener(6379, "redis-server", STRANGER, SLM)])
        allow = [{"ports": [6379, 6380], "sources": sources, "comment": "Redis"}]
        rules = entries(conflicts([wanted("redis", found, allow=allow)]))
        assert [it["sources"] for it in rules.get("firewall_allow", [])] == ([left] if left else [])

    def test_to_who_is_let_in_only_those_are_added_who_are_connected(self) -> None:
        found = survey(
            listeners=[listener(6379, "redis-server", STRANGER)], firewalls=ufw(("6379", SUBNET))
        )
        allow = [{"ports": [6379], "sources": [SLM], "comment": "Redis"}]
        (rule,) = entries(conflicts([wanted("backend", found, allow=allow)]))["firewall_allow"]
        assert rule["sources"] == [STRANGER]

    @pytest.mark.parametrize("clients", [[], [BACKEND]])
    def test_our_database_is_opened_to_those_who_are_connected(self, clients: list[str]) -> None:
        postgres = listener(5432, "postgres", *clients)
        found = survey(listeners=[postgres], firewalls=ufw(("5432", SUBNET)))
        judged = [it for it in conflicts([wanted("slm", found)]) if it.kind == "listener"]
        rules = entries(judged).get("firewall_allow", [])
        assert [it["sources"] for it in rules] == ([clients] if clients else [])

    def test_a_client_says_who_is_cut_off(self) -> None:
        (found,) = (it for it in conflicts([lived_in_redis()]) if it.port == 6379)
        assert "redis-server (redis-stack-server.service) listens at TCP port 6379" in found.what
        assert "172.16.168.20, 172.16.168.21" in found.what

    def test_ssh_from_elsewhere_is_named(self) -> None:
        found = conflicts([wanted("backend", survey(), ssh_sources=[REDIS])])
        assert entries(found)["firewall_allow"][0]["sources"] == ["172.16.168.1"]

    @pytest.mark.parametrize(
        ("port", "program", "named"),
        [
            *((port, "any", False) for port in (68, 546, 5353, 5355)),
            (40112, "avahi-daemon", False),
            # No process: the kernel's own, such as WireGuard.
            (51820, "", True),
            (53, "dnsmasq", True),
        ],
    )
    def test_of_udp_services_are_named_and_not_sockets_that_ask(
        self, port: int, program: str, named: bool
    ) -> None:
        udp = listener(port, program, protocol="udp", unit="")
        host = wanted("backend", survey(listeners=[udp]))
        assert [it.port for it in conflicts([host])] == [port] * named
        shut = [{"ports": [port], "sources": [], "comment": "shut"}]
        assert conflicts([replace(host, allow=shut)]) == []  # type: ignore[arg-type]

    def test_ports_of_one_program_are_one_entry(self) -> None:
        found = survey(listeners=[listener(9000, "minio"), listener(9001, "minio")])
        hosts = [wanted("backend", found)]
        (text,) = proposal(hosts, conflicts(hosts)).values()
        (rule,) = yaml.safe_load(text)["firewall_allow"]
        assert rule["ports"] == [9000, 9001]


class TestPorts:
    SITE = "/etc/nginx/conf.d/autobot-slm.conf"
    EXAMPLE = "/etc/nginx/sites-enabled/default"

    @pytest.mark.parametrize(
        ("listeners", "web", "ports", "words"),
        [
            ([listener(443, "apache2")], {}, [443], ["apache2.service"]),
            # Every address of it: a socket on loopback keeps nginx from all.
            ([listener(8000, "uvicorn", address="127.0.0.1")], {}, [8000], ["uvicorn"]),
            ([listener(8001, "uvicorn", address="127.0.0.1")], {}, [], []),
            ([listener(443, "x", protocol="udp", address="127.0.0.1")], {}, [], []),
            (
                [listener(443, "nginx")],
                {"servers": [server(OLD_SITES["slm"], 443, names=("slm.lan",))]},
                [443],
                ["nginx server slm.lan", OLD_SITES["slm"]],
            ),
            # It does not run, and would with the run.
            ([], {"servers": [server(OLD_SITES["slm"], 443)]}, [443], [OLD_SITES["slm"]]),
            ([], {"servers": [server(OLD_SITES["slm"], 8080)]}, [], []),
            ([listener(80, "nginx")], {"servers": [server(EXAMPLE, 80, upstream="")]}, [], []),
            ([listener(80, "nginx")], {"servers": [server(EXAMPLE, 80)]}, [80], [EXAMPLE]),
            ([], {"servers": [server(EXAMPLE, 80, 443, upstream="")]}, [80, 443], [EXAMPLE]),
            ([listener(443, "nginx")], {"servers": [server(SITE, 443)]}, [], []),
            (
                [listener(443, "nginx")],
                {"error": "unknown directive"},
                [443],
                ["unknown directive"],
            ),
            ([], {"error": "unknown directive"}, [], []),
            # PostgreSQL's is wanted on loopback only.
            ([listener(5432, "pgbouncer", address="172.17.0.1")], {}, [], []),
            ([listener(5432, "pgbouncer", address="127.0.0.1")], {}, [5432], ["pgbouncer"]),
            ([listener(5432, "pgbouncer", address="::")], {}, [5432], ["pgbouncer"]),
            ([listener(5432, "postgres", address="::")], {}, [], []),
        ],
    )
    def test_a_port_that_is_somebody_elses_is_named_with_its_holder(
        self,
        listeners: list[dict[str, Any]],
        web: dict[str, Any],
        ports: list[int],
        words: list[str],
    ) -> None:
        found = survey(listeners=listeners, web={"present": True, **web})
        named = [it for it in conflicts([wanted("slm", found)]) if it.kind == "port"]
        assert [it.port for it in named] == ports
        for conflict in named:
            assert all(word in conflict.what for word in words)

    def test_a_site_that_the_gateway_replaces_is_in_nobodys_way(self) -> None:
        found = survey(
            listeners=[listener(443, "nginx")],
            web={"present": True, "servers": [server(OLD_SITES["slm"], 443)]},
        )
        replaced = wanted("slm", found, replaced_sites=[OLD_SITES["slm"]])
        assert not [it for it in conflicts([replaced]) if it.kind == "port"]
        another = wanted("slm", found, replaced_sites=["/etc/nginx/sites-enabled/another"])
        assert [it.port for it in conflicts([another]) if it.kind == "port"] == [443]

    def test_what_has_the_ports_goes_on_behind_the_gateway(self) -> None:
        def passed(path: str, upstream: str, **more: Any) -> dict[str, Any]:
            return {"path": path, "upstream": upstream, "websocket": False, "body": "1m", **more}

        site = server(OLD_SITES["slm"], 80, 443) | {
            "root": "/opt/autobot/dist",
            "locations": [
                passed("/", ""),
                passed("/api/ws/", "http://127.0.0.1:8000", websocket=True, body="10m"),
                passed("/api/", "http://127.0.0.1:8000", body="10m"),
                passed("^~ /grafana/", "http://127.0.0.1:3000"),
                passed("~ ^/x", "http://127.0.0.1:9"),
                passed("/several/", "http://127.0.0.1:8, http://127.0.0.1:9"),
                passed("/autobot-api/", f"https://{BACKEND}:8443/api/", websocket=True),
                passed("= /nginx-health", ""),
                passed("/slm/", ""),
                passed("/elsewhere/", "https://203.0.113.9/"),
                passed("/grafana/", "http://127.0.0.1:1"),
                passed("/api/", "http://127.0.0.1:1"),
            ],
        }
        secrets = ["/etc/autobot/slm-secrets.env"]
        found = survey(
            listeners=[listener(443, "nginx", "172.16.168.77", "172.16.168.21")],
            web={"present": True, "servers": [site]},
            secrets_files=secrets,
        )
        named = [it for it in conflicts([wanted("slm", found)]) if it.kind == "port"]
        assert [it.port for it in named] == [80, 443]
        [text] = {it.lines for it in named}
        value = yaml.safe_load(text)["slm_server_gateway"]
        machines = [SLM, BACKEND, "172.16.168.21", REDIS, "172.16.168.77"]
        assert value.pop("open") == [
            {"from": machines, "requests": list(gateways.SERVICES[0].requests)}
        ]
        assert value == {
            "replaces": [OLD_SITES["slm"]],
            "pages": "/opt/autobot/dist",
            "secret": {"file": secrets[0], "variable": "SLM_SECRET_KEY"},
            "routes": [
                {
                    **{"path": "/api/ws/", "to": "http://127.0.0.1:8000"},
                    **{"token": True, "websocket": True, "body": "10m"},
                },
                {"path": "/api/", "to": "http://127.0.0.1:8000", "token": True, "body": "10m"},
                {"path": "/grafana/", "to": "http://127.0.0.1:3000"},
                {
                    **{"path": "/autobot-api/", "to": f"https://{BACKEND}:8443/api/"},
                    "name": "backend.autobot.internal",
                },
            ],
        }
        assert mistakes(value | {"open": []}, SUBNET) == []
        said = [it.text for it in notes([wanted("slm", found)]) if "nginx's location" in it.text]
        assert [text.split()[2] for text in said] == ["~", "/several/", "/slm/", "/elsewhere/"]
        assert "leads to http://127.0.0.1:9; the proposed slm_server_gateway" in said[0]
        assert "has files" in said[2]
        # Of somebody else's site on the port, the operator decides.
        wiki = server("/etc/nginx/sites-enabled/wiki", 443, upstream="http://127.0.0.1:8080")
        found["web"]["servers"].append(wiki)
        named = [it for it in conflicts([wanted("slm", found)]) if it.kind == "port"]
        assert yaml.safe_load(named[1].lines)["slm_server_gateway"]["replaces"] == value["replaces"]
        replaced = wanted("slm", found, replaced_sites=value["replaces"])
        [left] = (it for it in conflicts([replaced]) if it.kind == "port")
        assert "wiki" in left.what
        # It is one variable, whatever else a host's file says.
        [proposed] = proposal([wanted("slm", found)], named).values()
        assert yaml.safe_load(proposed)["slm_server_gateway"]["pages"] == value["pages"]

    def test_of_the_backend_only_the_fleet_managers_host_passes_without_a_login(self) -> None:
        found = survey(
            listeners=[listener(8443, "nginx", "172.16.168.21")],
            web={
                "present": True,
                "servers": [server(OLD_SITES["auth"], 8443, upstream="http://127.0.0.1:8001")],
            },
            secrets_files=["/etc/autobot/backend.env"],
        )
        [conflict] = (it for it in conflicts([wanted("backend", found)]) if it.kind == "port")
        value = yaml.safe_load(conflict.lines)["autobot_backend_gateway"]
        assert value["open"] == [{"from": [SLM], "requests": ["[A-Z]+ /api/.*"]}]
        assert value["routes"] == [{"path": "/", "to": "http://127.0.0.1:8001", "token": True}]
        assert "pages" not in value

    def test_on_one_machine_the_manager_goes_past_the_backends_site(self) -> None:
        def site(file: str, port: int, *locations: tuple[str, str]) -> dict[str, Any]:
            more = {"websocket": False, "body": "1m"}
            listed = [{"path": path, "upstream": to, **more} for path, to in locations]
            return server(file, port) | {"locations": listed}

        found = survey(
            listeners=[listener(443, "nginx"), listener(8443, "nginx")],
            web={
                "present": True,
                "servers": [
                    site(
                        *(OLD_SITES["slm"], 443, ("/api/", "http://127.0.0.1:8000")),
                        ("/autobot-api/", "https://127.0.0.1:8443/api/"),
                        ("/b/", f"https://{SLM}:8443/api/"),
                    ),
                    site(OLD_SITES["auth"], 8443, ("/", "http://127.0.0.1:8001")),
                ],
            },
            secrets_files=["/etc/autobot/slm-secrets.env", "/etc/autobot/backend.env"],
        )
        host = wanted("slm", found)
        slm, backend = (it.value for it in gateways.gateway(host, [443, 8443]))
        assert [(it["path"], it["to"]) for it in slm["routes"]] == [
            ("/api/", "http://127.0.0.1:8000"),
            ("/autobot-api/", "http://127.0.0.1:8001/api/"),
            ("/b/", "http://127.0.0.1:8001/api/"),
        ]
        # People come from its address too, through AutoBot's frontend.
        assert "open" not in backend
        assert mistakes(slm | {"open": []}, SUBNET) == mistakes(backend, SUBNET, "", [SLM]) == []

    @pytest.mark.parametrize("lacks", ["secret", "service"])
    def test_without_secret_or_service_there_is_no_gateway(self, lacks: str) -> None:
        upstream = "" if lacks == "service" else "http://127.0.0.1:8001"
        found = survey(
            web={
                "present": True,
                "servers": [server(OLD_SITES["auth"], 8443, upstream=upstream)],
            },
            secrets_files=[] if lacks == "secret" else ["/etc/autobot/backend.env"],
        )
        [conflict] = (it for it in conflicts([wanted("backend", found)]) if it.kind == "port")
        assert conflict.lines == ""
        assert "listen elsewhere" in conflict.answer

    def test_a_broken_nginx_of_ours_is_no_strangers(self) -> None:
        found = survey(
            listeners=[listener(443, "nginx")],
            web={"present": True, "error": "no certificate"},
            ours={"slm-server": "1.0.0", "auth": ""},
        )
        assert not [it for it in conflicts([wanted("slm", found)]) if it.kind == "port"]

    def test_the_unit_that_has_the_port_is_named(self) -> None:
        (found,) = (it for it in conflicts([lived_in_slm()]) if it.port == 8000)
        assert "systemctl disable --now autobot-slm-backend.service" in found.answer


class TestFirewalls:
    @pytest.mark.parametrize(
        ("rules", "missing"),
        [
            ([("allow", "8443", SUBNET)], False),
            ([("allow", "8443", "any")], False),
            ([("limit", "8000:9000", "any")], False),
            ([("allow", "any", "172.16.0.0/16")], False),
            ([("allow", "8443", "172.16.168.0/25")], True),
            ([("allow", "8442", "any")], True),
            ([], True),
            # The first that matches decides.
            ([("deny", "8443", STRANGER), ("allow", "8443", "any")], True),
            ([("allow", "8443", "any"), ("deny", "8443", STRANGER)], False),
            ([("reject", "8443", "10.0.0.0/8"), ("allow", "8443", "any")], False),
        ],
    )
    def test_what_ufw_keeps_shut_is_opened_through_it_or_by_commands(
        self, rules: list[tuple[str, str, str]], missing: bool
    ) -> None:
        firewall = ufw(*((port, source) for _, port, source in rules))
        for rule, (action, _, _) in zip(firewall["ufw"]["rules"], rules, strict=True):
            rule["action"] = action
        modes = {
            "own": "# ufw stays in charge of what is not ours\nfirewall_mode: additive",
            "none": f"ufw allow from {SUBNET} to any port 8443 proto tcp comment 'AutoBots API'",
        }
        for mode, answer in modes.items():
            host = wanted("backend", survey(firewalls=firewall), firewall_mode=mode)
            lines = [it.lines for it in conflicts([host]) if it.kind == "firewall"]
            assert lines == [answer] * missing
        # Behind what ufw denies by name, a rule of ours changes nothing.
        host = wanted("backend", survey(firewalls=firewall), firewall_mode="additive")
        denied = missing and bool(rules) and rules[0][0] != "allow"
        assert [it.kind for it in conflicts([host])] == ["firewall"] * denied
        firewall["ufw"]["incoming"] = "allow"
        found = conflicts([wanted("backend", survey(firewalls=firewall))])
        assert bool(found) == any(action == "deny" for action, _, _ in rules[:1])
        firewall["ufw"]["active"] = False
        assert conflicts([wanted("backend", survey(firewalls=firewall))]) == []

    @pytest.mark.parametrize("part", [{"interface": "eth1"}, {"destination": "172.16.168.99"}])
    def test_what_ufw_lets_in_at_one_interface_or_address_only_is_a_part(
        self, part: dict[str, str]
    ) -> None:
        firewall = ufw(("8443", "any"))
        firewall["ufw"]["rules"][0] |= part
        (found,) = conflicts([wanted("backend", survey(firewalls=firewall))])
        assert found.kind == "firewall"

    def test_what_another_mode_put_into_ufw_is_none_of_its_own_rules(self) -> None:
        firewall = ufw(("8443", "any"))
        firewall["ufw"]["rules"][0]["comment"] = "autobot-users"
        found = {
            mode: conflicts([wanted("backend", survey(firewalls=firewall), firewall_mode=mode)])
            for mode in ("own", "additive", "none")
        }
        assert {mode: len(it) for mode, it in found.items()} == {"own": 1, "additive": 0, "none": 1}

    @pytest.mark.parametrize(
        ("mode", "port", "kept"),
        [
            *(("own", 6379, False), ("none", 6379, True), ("additive", 6379, True)),
            # Ports of the site's own rules, but not SSH.
            *(("additive", 8443, False), ("none", 8443, True), ("additive", 22, True)),
        ],
    )
    def test_beside_another_firewall_listeners_go_on(
        self, mode: str, port: int, kept: bool
    ) -> None:
        others = [listener(port, "other", "10.9.9.9"), listener(123, "ntpd", protocol="udp")]
        host = wanted("backend", survey(listeners=others), firewall_mode=mode)
        found = [it for it in conflicts([host]) if it.kind == "listener"]
        assert [it.port for it in found if it.port == port] == [port] * (not kept)
        assert any(it.port == 123 for it in found) == (mode == "own")

    @pytest.mark.parametrize(
        ("firewalls", "name"),
        [
            ({"firewalld": True}, "firewalld"),
            ({"iptables": {"policy": "DROP", "rules": 4}}, "iptables"),
            (
                {"nftables": [{**POLICY, "family": "ip", "table": "filter", "closed": ["INPUT"]}]},
                "iptables",
            ),
            ({"nftables": [{**POLICY, "table": "mine"}]}, None),
        ],
    )
    def test_what_cannot_be_opened_is_no_firewall_to_be_beside(
        self, firewalls: dict[str, Any], name: str | None
    ) -> None:
        named = {
            mode: [
                it.what.split()[0]
                for it in conflicts(
                    [wanted("backend", survey(firewalls=firewalls), firewall_mode=mode)]
                )
            ]
            for mode in ("additive", "none")
        }
        assert named == {"additive": [name] * (name is not None), "none": []}

    def test_only_what_the_bundle_needs_is_asked_of_ufw(self) -> None:
        allow = [{"ports": [6379], "sources": [SLM], "comment": "Redis"}]
        found = survey(firewalls=ufw(("8443", "any")))
        assert conflicts([wanted("backend", found, allow=allow)]) == []

    @pytest.mark.parametrize(
        ("firewalls", "words"),
        [
            ({"firewalld": True}, ["firewalld is active"]),
            ({"iptables": {"policy": "DROP", "rules": 4}}, ["iptables drops"]),
            ({"iptables": {"policy": "ACCEPT", "rules": 4}}, []),
            ({"nftables": [{**POLICY, "table": "mine"}]}, ["table inet mine", "policy drop"]),
            ({"nftables": [{**POLICY, "table": "f", "policy": "accept"}]}, ["table inet f"]),
            ({"nftables": [{**POLICY, "table": "f", "policy": "accept", "rules": 0}]}, []),
            ({"nftables": [POLICY]}, []),
            # ufw's own.
            (
                {
                    **ufw(("8443", "any")),
                    "nftables": [{**POLICY, "family": "ip", "table": "filter"}],
                    "iptables": {"policy": "DROP", "rules": 30},
                },
                [],
            ),
        ],
    )
    def test_firewalls_that_cannot_be_judged_are_noted(
        self, firewalls: dict[str, Any], words: list[str]
    ) -> None:
        found = [it.text for it in notes([wanted("backend", survey(firewalls=firewalls))])]
        assert len(found) == bool(words)
        assert all(word in found[0] for word in words)


def with_clusters(*clusters: dict[str, Any], name: str = "redis", **more: Any) -> Host:
    return wanted(name, survey(DEBIAN, postgresql=list(clusters), **more))


class TestClusters:
    @pytest.mark.parametrize(
        ("clusters", "words"),
        [
            ([("17", "main", 5432, True)], None),
            ([("17", "main", 5432, True), ("16", "main", 5433, True)], None),
            ([("17", "main", 5432, True), ("16", "main", 5432, False)], None),
            # The role refuses these by itself.
            ([("16", "prod", 5432, True)], None),
            ([("16", "main", 5432, True)], None),
            ([], None),
            ([("17", "main", 5433, True)], "17/main, which the run uses, has port 5433"),
            (
                [("16", "main", 5432, True), ("17", "main", 5433, True)],
                "has port 5433, and 16/main has 5432",
            ),
            ([("17", "prod", 5432, True)], "no cluster 17/main, but 17/prod"),
            (
                [("17", "main", 5432, False), ("17", "prod", 5432, True)],
                "17/main and 17/prod both have port 5432",
            ),
        ],
    )
    def test_the_port_and_the_place_of_the_cluster_must_be_free(
        self, clusters: list[tuple[str, str, int, bool]], words: str | None
    ) -> None:
        host = with_clusters(
            *(
                cluster(version, {}, [], [], name=name, port=port, running=running)
                for version, name, port, running in clusters
            )
        )
        found = [it.what for it in conflicts([host]) if it.kind == "cluster"]
        assert len(found) == (words is not None)
        assert all(str(words) in what for what in found)

    def test_another_version_is_noted_and_what_it_means_is_judged(self) -> None:
        client = (STRANGER, "app", "app")
        host = with_clusters(cluster("16", {}, [client], [], later={"ssl": "/x"}))
        (note,) = notes([host])
        assert "postgresql_version: 16" in note.text
        assert [it.kind for it in conflicts([host])] == ["configuration", "client"]

    @pytest.mark.parametrize(
        ("client", "tls", "lines"),
        [
            ((SLM, "slm_service", "autobot_users"), True, None),
            ((BACKEND, "autobot_backend", "autobot_users"), True, None),
            # The network, the role, the database: each of them counts.
            ((BACKEND, "slm_service", "autobot_users"), True, BACKEND),
            ((SLM, "slm_app", "autobot_users"), True, SLM),
            ((SLM, "slm_service", "slm"), True, SLM),
            (("127.0.0.1", "slm_service", "autobot_users"), True, "127.0.0.1"),
            # No line of ours answers these.
            ((SLM, "slm_service", "autobot_users"), False, ""),
            ((SLM, "postgres", "autobot_users"), True, ""),
            ((SLM, 'a"\nhost all all all trust', "autobot_users"), True, ""),
            ((SLM, "/.*", "autobot_users"), True, ""),
            # Over the socket.
            (("", "postgres", "postgres"), True, None),
            (("", "slm_app", "slm"), True, None),
        ],
    )
    def test_a_client_that_no_line_lets_in_is_named_with_the_line(
        self, client: tuple[str, str, str], tls: bool, lines: str | None
    ) -> None:
        server = cluster("17", {}, [client], [])
        server["clients"][0]["tls"] = tls
        host = with_clusters(server)
        found = [it for it in conflicts([host]) if it.kind == "client"]
        assert len(found) == (lines is not None)
        address, role, database = client
        expected = {"database": database, "role": role, "addresses": [lines]}
        assert entries(found) == ({"postgresql_hba": [expected]} if lines else {})
        told = [it.text for it in notes([host]) if "over the socket" in it.text]
        assert len(told) == (not address and role != "postgres")

    def test_the_superuser_is_refused_whatever_the_inventory_says(self) -> None:
        host = with_clusters(cluster("17", {}, [(SLM, "postgres", "app")], []))
        assert host.postgresql
        host.postgresql["hba"].append({"database": "app", "role": "postgres", "addresses": [SLM]})
        assert "superuser" in one(conflicts([host]), "client").why

    def test_a_server_without_tls_is_noted_and_its_clients_are_no_conflict(self) -> None:
        client = (SLM, "slm_service", "autobot_users")
        server = cluster("17", {}, [client], [], ssl=False)
        server["clients"][0]["tls"] = False
        host = with_clusters(server)
        assert conflicts([host]) == []
        assert ["no TLS yet" in it.text for it in notes([host])] == [True]

    @pytest.mark.parametrize(
        ("changes", "kinds"),
        [
            ({}, []),
            ({"include_dir": False}, []),
            ({"hba_errors": ["line 97: invalid"]}, ["configuration"]),
            ({"later": {"ssl": "/data/postgresql.auto.conf"}}, ["configuration"]),
            # As an operator tunes it.
            ({"later": {"work_mem": "/data/postgresql.auto.conf"}}, []),
            ({"later": {"port": "/x"}, "hba_errors": ["line 97"]}, ["configuration"] * 2),
        ],
    )
    def test_what_keeps_the_settings_away_is_found(
        self, changes: dict[str, Any], kinds: list[str]
    ) -> None:
        found = conflicts([with_clusters(cluster("17", {}, [], [], **changes))])
        assert [it.kind for it in found] == kinds

    @pytest.mark.parametrize(
        ("owners", "adopt_from", "lines"),
        [
            (["autobot_user_admin"], "", None),
            (["slm_app"], "slm_app", None),
            # A run was here before, and something was made anew meanwhile.
            (["autobot_user_admin", "slm_app"], "slm_app", None),
            (
                ["slm_app"],
                "",
                "# owner of AutoBot's tables until then\npostgresql_adopt_from: slm_app",
            ),
            (["one", "two"], "", ""),
            (["1e3"], "", '# owner of AutoBot\'s tables until then\npostgresql_adopt_from: "1e3"'),
        ],
    )
    def test_tables_of_another_role_are_handed_over_where_the_inventory_says_so(
        self, owners: list[str], adopt_from: str, lines: str | None
    ) -> None:
        kept = {**store("autobot_users", 3), "owners": owners, "cluster": "17/main"}
        other = {**store("autobot_users", 3), "owners": ["else"], "cluster": "16/main"}
        host = with_clusters(cluster("17", {}, [], []), stores=[other, kept])
        assert host.postgresql is not None
        host = replace(host, postgresql={**host.postgresql, "adopt_from": adopt_from})
        found = [it for it in conflicts([host]) if it.kind == "owner"]
        assert [it.lines for it in found] == ([] if lines is None else [lines])

    @pytest.mark.parametrize("adopt_from", ["", "slm_app"])
    def test_two_databases_of_one_machine_are_adopted_from_one_role(self, adopt_from: str) -> None:
        """Two answers would be given in turn, and the run would never go on."""
        kept = [
            {**store(name, 3), "owners": [owner], "cluster": "17/main"}
            for name, owner in (("slm_users", "slm_app"), ("autobot_users", "autobot_app"))
        ]
        host = with_clusters(cluster("17", {}, [], []), stores=kept)
        assert host.postgresql is not None
        host.postgresql["owners"] = {
            "slm_users": "slm_admin",
            "autobot_users": "autobot_user_admin",
        }
        host.postgresql["adopt_from"] = adopt_from
        found = conflicts([host])
        said = [it for it in found if it.kind == "owner"]
        assert [it.lines for it in said] == [""] * (1 if adopt_from else 2)
        assert all("OWNER TO autobot_app" in it.answer for it in said)

    @pytest.mark.parametrize("running", [True, False])
    def test_a_cluster_that_does_not_run_is_noted(self, running: bool) -> None:
        host = with_clusters(cluster("17", {}, [], [], running=running))
        assert any("17/main does not run" in it.text for it in notes([host])) is not running

    @pytest.mark.parametrize("error", ["", "it does not answer"])
    def test_a_file_that_the_run_extends_is_noted(self, error: str) -> None:
        host = with_clusters(cluster("17", {}, [], [], include_dir=False, error=error))
        said = [it.text for it in notes([host]) if "include_dir = 'conf.d'" in it.text]
        assert bool(said) == (not error)

    @pytest.mark.parametrize(
        ("name", "address", "remote", "expected"),
        [
            ("slm", "0.0.0.0", BACKEND, "{{ address }}"),  # noqa: S104
            ("slm", SLM, BACKEND, "{{ address }}"),
            ("slm", "10.9.0.1", BACKEND, "10.9.0.1"),
            ("slm", "0.0.0.0", "127.0.0.1", None),  # noqa: S104
            ("redis", "0.0.0.0", BACKEND, None),  # noqa: S104
            ("redis", REDIS, BACKEND, None),
            ("redis", "10.9.0.1", BACKEND, "10.9.0.1"),
        ],
    )
    def test_an_address_that_is_used_stays_one_at_which_the_server_listens(
        self, name: str, address: str, remote: str, expected: str | None
    ) -> None:
        outside = [] if remote == "127.0.0.1" else [remote]
        clients = [(remote, "slm_service", "slm_users")]
        host = with_clusters(
            cluster("17", {}, clients, []),
            name=name,
            listeners=[listener(5432, "postgres", *outside, address=address)],
        )
        found = [it for it in conflicts([host]) if it.kind == "configuration"]
        said = entries(found).get("postgresql_listen_addresses", [])
        assert expected in said if expected else said == []

    def test_who_may_come_in_today_and_not_tomorrow_is_noted(self) -> None:
        (note,) = notes([with_clusters(cluster("17", {}, [], UPSTREAM_HBA))])
        assert f"host slm_users slm_app {SUBNET} scram-sha-256 (line 99)" in note.text
        assert "127.0.0.1" not in note.text
        ours = ("hostssl", "autobot_users", "slm_service", f"{SLM}/32", "scram-sha-256")
        wider = ("hostssl", "autobot_users", "slm_service", SUBNET, "scram-sha-256")
        assert len(notes([with_clusters(cluster("17", {}, [], [wider]))])) == 1
        rejected = ("host", "all", "all", "all", "reject")
        assert notes([with_clusters(cluster("17", {}, [], [*PACKAGED_HBA, ours, rejected]))]) == []

    def test_a_database_to_adopt_and_a_store_that_stays_are_noted(self) -> None:
        host = with_clusters(
            cluster("16", {"autobot_users": "slm_app"}, [], []),
            stores=[store("autobot_users", 5), store("other", 1), store("empty", 0)],
        )
        texts = [it.text for it in notes([host])]
        assert [it for it in texts if "Adopting an AutoBot database" in it and "slm_app" in it]
        assert [it for it in texts if "The store other of 16/main has 1 user and" in it]
        assert not [it for it in texts if "store empty" in it or "store autobot_users" in it]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (directory("/etc/autobot-users"), None),
        (directory("/etc/autobot-users", mode="1755"), None),
        (directory("/etc/autobot-users", mode="0750"), "PostgreSQL cannot read its certificate"),
        (directory("/etc/autobot-users", "autobot", "0750"), "cannot read"),
        (directory("/etc/autobot-users", "autobot"), "exchange keys"),
        (directory("/opt/autobot-users", mode="0775"), "exchange keys"),
        (directory("/opt/autobot-users", mode="0757"), "exchange keys"),
        (directory("/etc/autobot", "autobot", "0750"), None),
        (directory("/var/lib/slm", "autobot", "0777"), None),
    ],
)
def test_directories_must_be_roots_and_open_to_all(
    found: dict[str, str], words: str | None
) -> None:
    named = conflicts([wanted("backend", survey(directories=[found]))])
    assert [it.kind for it in named] == ["directory"] * (words is not None)
    assert all(str(words) in it.why and found["path"] in it.what for it in named)


class TestWords:
    def test_a_refusal_has_all_and_fits_the_screen(self) -> None:
        found = conflicts(lived_in_site())
        text = refusal(found)
        assert text.startswith(f"{len(found)} conflicts are to be decided on slm, redis, backend:")
        assert text.endswith("\nNo host was touched.")
        assert max(map(len, text.splitlines())) <= 100
        for conflict in found:
            assert " ".join(conflict.what.split()) in " ".join(text.split())
        # One list of a variable for each host, to be pasted.
        assert text.count("firewall_allow:\n") == 3
        assert text.count("postgresql_hba:\n") == 1
        assert text.count("firewall_mode: additive\n") == 1

    def test_a_report_says_what_is_there_and_leaves_out_what_is_silent(self) -> None:
        site = [*lived_in_site()[:2], empty_site()[2]]
        text = markdown_report(site, conflicts(site))
        slm, redis, backend = re.split(r"\n## (?:slm|redis|backend|What)", text)[1:4]
        for words in (
            r"| system | Ubuntu 22.04, x86\_64, Python 3.10.12 |",
            r"| tcp 443 | nginx \(nginx.service\) at 0.0.0.0; used by 172.16.168.20, ",
            r"| nginx /etc/nginx/sites-enabled/autobot-slm | \_ at 443; / to http://127.0.0.1:8000",
            r"| store slm\_users | 5 users, 1 team, 5 bcrypt |",
            "| ufw | active, 6 rules, incoming: deny |",
        ):
            assert words in slm
        assert r"port 5432, runs; slm of slm\_app \(8 MiB\)" in slm
        assert "172.16.168.24" in redis
        assert "tcp 323" not in redis
        assert not re.search("nginx|PostgreSQL|store|ufw|nftables", backend)

    def test_a_report_says_what_is_taken_over_what_goes_on_and_how_long_it_takes(self) -> None:
        text = markdown_report(lived_in_site(), [])
        plan = text.partition("## What the first run does")[2]
        slm, redis, backend = re.split(r"\n### (?:slm|redis|backend)\n", plan)[1:]
        for words in (
            "- Port 443: the API ",
            r"- pg\_hba.conf and conf.d of the cluster 16/main.",
            r"- grafana \(grafana-server.service\) at tcp 3000.",
            "- packages, release, settings and proof: 5 minutes",
        ):
            assert words in slm
        assert "at tcp 443" not in slm
        assert "at tcp 22" not in text
        assert "6379" in redis
        assert "- Port 8443" in backend

    def test_of_hosts_that_are_deployed_nothing_is_planned(self) -> None:
        site = deployed_site()
        assert "first run" not in markdown_report(site, [])
        assert document(site, [])["plans"] == []

    def test_what_is_shut_and_what_is_moved_does_not_go_on(self) -> None:
        found = survey(listeners=[listener(9100, "exporter"), listener(6379, "redis")])
        shut = [{"ports": [9100], "sources": [], "comment": "x"}]
        (plan,) = document([wanted("redis", found, allow=shut)], [])["plans"]
        assert plan["goes_on"] == ["redis (redis.service) at tcp 6379."]

    @pytest.mark.parametrize(
        ("mode", "words"), [("own", "is dropped"), ("additive", "are opened"), ("none", None)]
    )
    def test_what_becomes_of_packets_is_said(self, mode: str, words: str | None) -> None:
        (plan,) = document([wanted("backend", survey(), firewall_mode=mode)], [])["plans"]
        said = [it for it in plan["taken_over"] if not it.startswith("Port")]
        assert [str(words) in it for it in said] == [True] * (words is not None)

    @pytest.mark.parametrize(
        ("users", "size", "steps"),
        [
            (0, 0, {}),
            (1_000_000, 6 * 10**9, {"backup": 120, "migration": 67}),
        ],
    )
    def test_time_grows_with_data_and_people(
        self, users: int, size: int, steps: dict[str, int]
    ) -> None:
        server = cluster("17", {"autobot_users": "slm_app"}, [], [])
        server["databases"][0]["size_bytes"] = size
        kept = {**store("autobot_users", users), "cluster": "17/main"}
        (plan,) = document([with_clusters(server, stores=[kept])], [])["plans"]
        seconds = {step: number for step, number in plan["seconds"].items() if number != 300}
        assert list(seconds.values()) == list(steps.values())
        assert all(word in step for word, step in zip(steps, seconds, strict=True))

    def test_a_document_is_for_programs(self) -> None:
        site = lived_in_site()
        found = document(site, conflicts(site))
        assert [it["name"] for it in found["hosts"]] == ["slm", "redis", "backend"]
        assert set(found["conflicts"][0]) == {
            *("host", "kind", "what", "why", "answer", "port", "lines")
        }
        assert found["notes"][0]["host"] == "slm"

    def test_what_could_not_be_read_is_noted(self) -> None:
        (note,) = notes([wanted("backend", survey(unreadable=["ufw: permission denied"]))])
        assert note.text == "Not read: ufw: permission denied"

    def test_a_hosts_words_forge_nothing(self) -> None:
        found = survey(
            listeners=[
                listener(6379, HOSTILE, STRANGER, unit=HOSTILE),
                listener(5432, HOSTILE, "no address\n- x", unit=HOSTILE, address="0.0.0.0"),  # noqa: S104
            ],
            web={"error": HOSTILE},
            postgresql=[
                cluster(
                    "17",
                    {HOSTILE: HOSTILE},
                    [(STRANGER, HOSTILE, HOSTILE), ("", HOSTILE, "x")],
                    [("host", HOSTILE, HOSTILE, SUBNET, "trust")],
                    hba_errors=[HOSTILE],
                    include_dir=False,
                    config_file=HOSTILE,
                )
            ],
            stores=[{**store(HOSTILE, 1), "problems": [{"user": HOSTILE, "reason": HOSTILE}]}],
            firewalls={"nftables": [{**POLICY, "table": HOSTILE}]},
            unreadable=[HOSTILE],
        )
        hosts = [wanted("redis", found)]
        judged = conflicts(hosts)
        said = [markdown_report(hosts, judged), refusal(judged), *proposal(hosts, judged).values()]
        said += [differences({"host_vars/redis.yml": f"+{HOSTILE}"})]
        for text in said:
            assert all(letter == "\n" or letter.isprintable() for letter in text)
            assert not re.search(r"^- \|`", text, re.MULTILINE)
        assert not re.search(
            r"(?<!\\)[`{}]", re.sub(r"(?m)^ {4}.*$|\{\{ site_networks \}\}", "", said[0])
        )
        rows = [line for line in said[0].splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
        # No template, no rule and no line of pg_hba.conf comes from a host.
        (text,) = proposal(hosts, judged).values()
        values = re.sub(r"(?m)^ *#.*$", "", text)
        assert not re.search("[{}%]", values.replace('"{{ site_networks }}"', ""))
        for rule in yaml.safe_load(text)["firewall_allow"]:
            assert re.fullmatch(r"[\w?.@:+-]{1,60}", rule["comment"])
        assert "postgresql_hba" not in text


# What the file of a Redis host lacks.
NEW = {"ports": [9121], "sources": "{{ site_networks }}", "comment": "redis_exporter"}


class TestExtended:
    @pytest.fixture
    def host(self) -> Host:
        found = survey(listeners=[listener(9121, "redis_exporter")])
        return wanted("redis", found, as_written={"firewall_allow": ["{{ elsewhere }}"]})

    @pytest.mark.parametrize(
        ("text", "rules"),
        [
            ("", ["{{ elsewhere }}", NEW]),
            ("---\nother: 1\n", ["{{ elsewhere }}", NEW]),
            ("firewall_allow:\n  - a\n", ["a", NEW]),
            (
                "firewall_allow:  # mine\n- a\n- b: 1\n  c: 2\nother: 1\n",
                ["a", {"b": 1, "c": 2}, NEW],
            ),
            (
                "firewall_allow:\n  - ports: [1]\n    # why\n    x: y\n\n# Another's.\nother: 1\n",
                [{"ports": [1], "x": "y"}, NEW],
            ),
            ("firewall_allow: [a]\nother: 1\n", ["a"]),
            ("firewall_allow: []  # none\n", []),
            ("firewall_allow_not: [a]\n", ["{{ elsewhere }}", NEW]),
        ],
    )
    def test_a_file_keeps_its_lines_and_gets_what_it_lacks(
        self, host: Host, text: str, rules: list[Any]
    ) -> None:
        after = extended(text, host, conflicts([host]))
        assert yaml.safe_load(after)["firewall_allow"] == rules
        lines = iter(after.splitlines())
        assert all(line in lines for line in text.splitlines())
        assert "[9121]" in after
        assert ("# Another's.\nother" in text) == ("# Another's.\nother" in after)
