"""One machine with all groups: what its variables make of it, by Ansible itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT
from tests.support.site_variables import read_site, value_of

ADDRESS = "172.16.168.19"
HERE = "127.0.0.1"

Of = Callable[..., Any]
# What the other entries of a dictionary are made of.
KEYS = {
    f"vault_{name}_password": "secret"
    for name in ("slm_admin", "autobot_user_admin", "autobot_backend")
}


@pytest.fixture(scope="module")
def variables_of() -> Of:
    """The value of a variable, of a host of an inventory; further ones may be given."""

    def variables_of(name: str, host: str = "autobot", site: str = "single", **more: Any) -> Any:
        hosts, _ = read_site(ROOT / f"inventory/{site}/hosts.yml")
        return value_of(hosts, host, name, **more)

    return variables_of


def test_both_databases_are_in_one_cluster_that_nobody_reaches_from_outside(
    variables_of: Of,
) -> None:
    assert [each["name"] for each in variables_of("postgresql_databases")] == [
        "slm_users",
        "autobot_users",
    ]
    assert variables_of("postgresql_listen_addresses") == [HERE]
    assert {
        (line["database"], line["role"], *line["addresses"])
        for line in variables_of("postgresql_hba_services")
    } == {
        ("slm_users", "slm_admin", HERE),
        ("slm_users", "slm_service", HERE),
        ("autobot_users", "autobot_user_admin", HERE),
        ("autobot_users", "slm_service", HERE),
        ("autobot_users", "autobot_backend", HERE),
    }
    ports = {port for rule in variables_of("firewall_services") for port in rule["ports"]}
    assert ports == {80, 443, 8000, 8443}
    assert variables_of("firewall_remote") == []
    assert variables_of("slm_server_autobot_host") == HERE
    assert variables_of("autobot_backend_database_host") == HERE


def test_the_roles_of_both_databases_leave_slots(variables_of: Of) -> None:
    roles = {
        (role["name"], int(role["connection_limit"]))
        for database in variables_of("postgresql_databases")
        for role in database["roles"]
    }
    # slm_service is in both.
    assert ("slm_service", 40) in roles
    assert sum(limit for _, limit in roles) + 40 == 130
    # 10 for superusers, 5 for owners.
    assert int(variables_of("postgresql_max_connections")) - 15 > 130


def test_a_role_of_both_databases_has_one_password(variables_of: Of) -> None:
    vault = {
        "vault_slm_service_password": "of slm_users alone",
        "vault_autobot_slm_service_password": "of both",
        "vault_autobot_slm_service_password_next": "the next of both",
        "vault_slm_service_password_next": "the next of slm_users alone",
    }

    def of(name: str, **where: str) -> Any:
        return variables_of(name, **vault, **where)

    here = {"host": "slm", "site": "production"}
    assert variables_of("postgresql_passwords", **vault, **KEYS)["slm_service"] == "of both"
    assert of("slm_server_slm_password") == of("slm_server_autobot_password") == "of both"
    assert of("slm_server_slm_other_password") == "the next of both"
    assert of("slm_server_slm_password", **here) == "of slm_users alone"
    assert of("slm_server_slm_other_password", **here) == "the next of slm_users alone"


def test_both_services_have_one_release(variables_of: Of) -> None:
    assert variables_of("release_units") == ["autobot-slm-users", "autobot-auth"]
    assert variables_of("release_urls") == [f"https://{ADDRESS}", f"https://{ADDRESS}:8443"]
    root = variables_of("release_root")
    assert variables_of("slm_server_root") == variables_of("autobot_backend_root") == root
    assert variables_of("monitoring_releases") == {"slm-server": root, "auth": root}
    assert [leaf["name"] for leaf in variables_of("pki_leaves")] == ["postgresql", "https"]
    units = variables_of("monitoring_units")
    assert len(units) == len(set(units))


def test_it_keeps_its_own_backups(variables_of: Of) -> None:
    assert variables_of("backup_stanza") == "users"
    assert variables_of("backup_peer") == "autobot"
    named = [schema["database"] for schema in variables_of("backup_schemas")]
    assert named == ["slm_users", "autobot_users"]
    # A user of the system has 32 characters at most.
    assert len("autobot-repo-" + variables_of("backup_stanza")) <= 32


def test_what_is_proved_of_it_is_proved_once(variables_of: Of) -> None:
    logins = variables_of("proof_logins")
    names = [login["name"] for login in logins]
    assert len(names) == len(set(names))
    (kept_out,) = (it for it in logins if it["name"] == "slm_users is out of reach")
    assert (kept_out["host"], kept_out["user"], kept_out["expect"]) == (
        HERE,
        "autobot_backend",
        "refused",
    )
    # Of the SLM server's own role, which comes from here too.
    assert not [it for it in logins if it["user"] == "slm_service" and it["host"] == HERE]
    assert len(variables_of("proof_requests")) == 8
    ports = [it["port"] for it in variables_of("proof_certificates")]
    assert ports == [443, 8443, 5432]


@pytest.mark.parametrize(
    ("host", "databases", "stanza", "listens"),
    [
        ("slm", ["slm_users"], "slm_users", [HERE]),
        ("redis", ["autobot_users"], "autobot_users", [HERE, "172.16.168.23"]),
    ],
)
def test_a_database_that_has_a_host_of_its_own_is_what_it_was(
    variables_of: Of, host: str, databases: list[str], stanza: str, listens: list[str]
) -> None:
    def of(name: str) -> Any:
        return variables_of(name, host=host, site="production")

    assert [each["name"] for each in of("postgresql_databases")] == databases
    assert of("backup_stanza") == stanza
    assert of("postgresql_listen_addresses") == listens
    assert of("backup_peer") != host
    assert 22 in {port for rule in of("firewall_services") for port in rule["ports"]}


WSL = "172.16.168.40"
# The hosts of slm_server (with slm_users), autobot_database, autobot_backend, and elsewhere.
PARTLY = {
    "one machine and a backend elsewhere": ("one", "one", [], ["wsl"]),
    "both databases and the SLM server": ("one", "one", ["other"], []),
    "both services": ("one", "other", ["one"], []),
    "autobot_users and the backend": ("one", "other", ["other"], []),
}


@pytest.fixture
def partly(tmp_path: Path, request: pytest.FixtureRequest) -> Of:
    """The value of a variable, of a host of an inventory that is neither one machine nor three."""
    slm, database, backends, elsewhere = PARTLY[request.param]
    addresses = {"one": ADDRESS, "other": "172.16.168.23", "wsl": WSL}

    def group(*names: str) -> dict[str, Any]:
        return {"hosts": {name: {"address": addresses[name]} for name in names}}

    server = {"children": {"slm_server": group(slm)}}
    postgresql = {"slm_database": server, "autobot_database": group(database)}
    site = {"postgresql": {"children": postgresql}, "autobot_backend": group(*backends)}
    children = {"site": {"children": site}, "autobot_backend_elsewhere": group(*elsewhere)}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    (tmp_path / "group_vars").symlink_to(ROOT / "inventory/production/group_vars")

    def partly(name: str, host: str = "one", *, by_others: bool = False) -> Any:
        """`by_others`: as other hosts have it in hostvars."""
        hosts, _ = read_site(tmp_path / "hosts.yml")
        return hosts[host][name] if by_others else value_of(hosts, host, name)

    return partly


@pytest.mark.parametrize(
    ("partly", "host", "listens", "sources", "slots"),
    [
        ("one machine and a backend elsewhere", "one", [HERE, ADDRESS], [WSL], 258),
        ("both databases and the SLM server", "one", [HERE, ADDRESS], ["172.16.168.23"], 258),
        ("both services", "other", [HERE, "172.16.168.23"], [ADDRESS], 158),
        ("autobot_users and the backend", "other", [HERE, "172.16.168.23"], [ADDRESS], 158),
    ],
    indirect=["partly"],
)
def test_a_server_listens_to_those_who_are_elsewhere_and_has_slots_for_all(
    partly: Of, host: str, listens: list[str], sources: list[str], slots: int
) -> None:
    assert partly("postgresql_listen_addresses", host) == listens
    # What another host's proof goes by must be the same.
    assert partly("postgresql_listen_addresses", host, by_others=True) == listens
    (rule,) = (it for it in partly("firewall_services", host) if it["ports"] == [5432])
    assert rule["sources"] == sources
    assert int(partly("postgresql_max_connections", host)) == slots


@pytest.mark.parametrize("partly", ["both services"], indirect=True)
def test_two_services_at_one_address_have_the_connections_of_two(partly: Of) -> None:
    (rule,) = (it for it in partly("firewall_services", "other") if it["ports"] == [5432])
    assert int(rule["connections"]) == 128
    assert partly("release_root") == "/opt/autobot-users/slm-server"
