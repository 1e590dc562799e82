"""What a gateway changes of a site: ports, proofs, what is watched, and the secret that is read."""

from typing import Any

import pytest
from ansible.vars.hostvars import HostVars

from tests.support.role_files import ROOT
from tests.support.site_variables import read_site, value_of

SECRET = {"file": "/etc/autobot/slm-secrets.env", "variable": "SLM_SECRET_KEY"}
GATEWAYS: dict[str, Any] = {
    "slm": {"slm_server_gateway": {"routes": [], "secret": SECRET}},
    "backend": {"autobot_backend_gateway": {"routes": [], "secret": SECRET}},
}


@pytest.fixture(scope="module")
def hosts() -> HostVars:
    return read_site(ROOT / "inventory/lab/hosts.yml")[0]


def test_autobot_keeps_the_port_that_it_has(hosts: HostVars) -> None:
    for more, ports in (({}, [80, 8000]), (GATEWAYS["slm"], [80])):
        assert value_of(hosts, "slm", "slm_server_redirect_ports", **more) == ports
        opened = value_of(hosts, "slm", "firewall_of_slm_server", **more)
        assert [rule["ports"] for rule in opened] == [[443], ports]
        proofs = value_of(hosts, "slm", "proof_requests_of_slm_server", **more)
        asked = {proof["url"].partition(":8000")[1] for proof in proofs}
        assert (":8000" in asked) is (8000 in ports)
        assert any("AutoBot" in proof["name"] for proof in proofs) is bool(more)


@pytest.mark.parametrize(
    ("host", "relay", "name"),
    [
        ("slm", "autobot-slm-users-relay.service", "vault_slm_gateway_secret"),
        ("backend", "autobot-auth-relay.service", "vault_autobot_gateway_secret"),
    ],
)
def test_the_relay_is_watched_and_the_secret_is_read(
    hosts: HostVars, host: str, relay: str, name: str
) -> None:
    assert relay not in value_of(hosts, host, "monitoring_units")
    assert relay in value_of(hosts, host, "monitoring_units", **GATEWAYS[host])
    assert value_of(hosts, host, "site_gateway_secrets") == []
    read = value_of(hosts, host, "site_gateway_secrets", **GATEWAYS[host])
    assert read == [{**SECRET, "name": name}]
    # One that is not said is asked for, and refused.
    [variable] = GATEWAYS[host]
    read = value_of(hosts, host, "site_gateway_secrets", **{variable: {"routes": []}})
    assert read == [{"file": "", "variable": "", "name": name}]
