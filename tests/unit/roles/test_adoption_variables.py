"""What a move of AutoBot's users changes of a site: who may come in, from where, and how often."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.vars.hostvars import HostVars

from tests.support.role_files import ROOT, role_vars
from tests.support.site_variables import read_site, value_of

SLM, BACKEND, REDIS = "172.16.168.19", "172.16.168.20", "172.16.168.23"
ADOPTION = {
    "adoption_source": {
        "address": SLM,
        "database": "people",
        "user": "slm_app",
        "secret": {"host": "backend", "file": "/etc/autobot/backend.env", "variable": "PASSWORD"},
    },
    "adoption_services": [{"host": "backend", "file": "/etc/autobot/backend.env", "variables": {}}],
}


def site(**adoption: Any) -> HostVars:
    hosts, variables = read_site(ROOT / "inventory/lab/hosts.yml")
    variables.set_nonpersistent_facts("redis", adoption)
    return hosts


@pytest.fixture(scope="module")
def moving() -> HostVars:
    return site(**ADOPTION)


@pytest.fixture(scope="module")
def still() -> HostVars:
    return site()


def lines(hosts: HostVars, host: str) -> set[tuple[str, str, str]]:
    return {
        (line["database"], line["role"], address)
        for line in value_of(hosts, host, "postgresql_hba_services")
        for address in line["addresses"]
    }


def test_the_new_home_lets_autobot_in_and_who_prepares_the_copy(
    moving: HostVars, still: HostVars
) -> None:
    assert lines(moving, "redis") - lines(still, "redis") == {
        ("autobot_users", "slm_app", BACKEND),
        ("autobot_users_incoming", "autobot_user_admin", SLM),
        ("autobot_users_incoming", "slm_service", SLM),
    }
    assert lines(still, "redis") <= lines(moving, "redis")


def test_the_old_home_lets_the_new_one_read(moving: HostVars, still: HostVars) -> None:
    assert lines(moving, "slm") - lines(still, "slm") == {
        ("people", "slm_app", REDIS),
        (role_vars("adoption")("adoption_kept"), "slm_app", REDIS),
    }
    assert value_of(still, "slm", "firewall_of_adoption") == []
    (rule,) = value_of(moving, "slm", "firewall_of_adoption")
    assert (rule["ports"], rule["sources"]) == ([5432], [REDIS, BACKEND])
    # A rule would narrow what another firewall, which stays in charge, lets in at that port.
    assert value_of(moving, "slm", "firewall_of_adoption", firewall_mode="additive") == []
    assert value_of(still, "slm", "postgresql_listen_addresses") == ["127.0.0.1"]
    assert value_of(moving, "slm", "postgresql_listen_addresses") == ["127.0.0.1", SLM]
    assert value_of(moving, "redis", "firewall_of_adoption") == []


def test_there_are_connections_for_autobot_too(moving: HostVars, still: HostVars) -> None:
    def figures(hosts: HostVars) -> tuple[int, int, int]:
        (opening,) = value_of(hosts, "redis", "firewall_of_autobot_database")
        (remote,) = value_of(hosts, "backend", "firewall_remote")
        slots = value_of(hosts, "redis", "postgresql_max_connections")
        return int(slots), int(opening["connections"]), int(remote["connections"])

    assert [more - less for more, less in zip(figures(moving), figures(still), strict=True)] == [
        40,
        40,
        40,
    ]
    # The SLM server's host has no program of AutoBot's that comes here.
    (remote,) = value_of(moving, "slm", "firewall_remote")
    assert int(remote["connections"]) == 16


def test_the_password_is_read_where_it_is(moving: HostVars, still: HostVars) -> None:
    (secret,) = value_of(moving, "backend", "site_adoption_secrets")
    assert secret == {
        "file": "/etc/autobot/backend.env",
        "variable": "PASSWORD",
        "name": "vault_adoption_password",
    }
    for hosts, host in ((moving, "slm"), (moving, "redis"), (still, "backend")):
        assert value_of(hosts, host, "site_adoption_secrets") == []
