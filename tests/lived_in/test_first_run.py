"""A first run beside AutoBot stops before it changes anything, and the assessment answers it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.site import HOSTS, ansible, assert_failed_untouched
from tests.lived_in.living import ANSWERS, addresses, assess, state

pytestmark = pytest.mark.usefixtures("lived_in")


def proposed(name: str) -> dict[str, Any]:
    path = ANSWERS / f"{name}.yml"
    variables: dict[str, Any] = yaml.safe_load(path.read_text())
    return variables


def test_a_run_without_answers_stops_with_all_of_them_in_one_list_and_changes_nothing() -> None:
    before = {name: state(name) for name in HOSTS}
    run = ansible("site.yml")
    assert_failed_untouched(run, "No host was touched.")
    assert "TASK [controller" not in run.output
    assert "TASK [base" not in run.output
    # Ansible shows the message more than once.
    said = " ".join(run.output.partition("No host was touched.")[0].split())
    for what in (
        *(f"slm: Port {port} belongs to" for port in (80, 443, 8000)),
        *(f"{name}: ufw is active and does not let in all" for name in ("slm", "redis")),
        *(f"listens at TCP port {port};" for port in (3000, 6080, 6379, 9090, 9121, 11434)),
        "uses the database autobot_users as slm_app",
        "backend: Port 8443 belongs to",
    ):
        assert what in said, run.tail()
    numbers = re.findall(r"(\d+)\. (?:slm|redis|backend): ", said)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    for name in HOSTS:
        after = state(name)
        for kind in after._fields:
            assert getattr(after, kind) == getattr(before[name], kind), f"{kind} of {name}"


def test_an_assessment_proposes_what_lets_everybody_go_on() -> None:
    where = addresses()
    assess()
    # Where ufw is, it goes on letting in whom it lets in.
    for name in ("slm", "redis"):
        assert proposed(name)["firewall_mode"] == "additive"
        assert "firewall_allow" not in proposed(name)
    allowed = [port for rule in proposed("backend")["firewall_allow"] for port in rule["ports"]]
    assert sorted(allowed) == [6080, 11434]
    lines = [tuple(line.values()) for line in proposed("slm")["postgresql_hba"]]
    assert ("autobot_users", "slm_app", [where["backend"]]) in lines
    assert ("slm", "slm_app", ["127.0.0.1"]) in lines
    assert proposed("slm")["postgresql_listen_addresses"] == ["127.0.0.1", "{{ address }}"]


def test_a_proposal_that_is_there_is_left_as_it_is() -> None:
    assess()
    path: Path = ANSWERS / "redis.yml"
    path.write_text("---\n# Decided.\nfirewall_allow: []\n")
    assess()
    assert path.read_text() == "---\n# Decided.\nfirewall_allow: []\n"


def test_with_the_proposal_nothing_is_left_to_be_decided() -> None:
    assert assess() == []
    where = addresses()
    slm, backend = (
        proposed(name)[f"{role}_gateway"]
        for name, role in (("slm", "slm_server"), ("backend", "autobot_backend"))
    )
    assert slm["pages"] == "/opt/autobot/autobot-slm-frontend/dist"
    assert {route["path"] for route in slm["routes"]} == {
        *("/api/", "/api/ws/", "/autobot-api/", "/grafana/", "/prometheus/")
    }
    assert set(where.values()) <= set(slm["open"][0]["from"])
    assert backend["open"][0]["from"] == [where["slm"]]
    assert [route["path"] for route in backend["routes"] if "websocket" not in route] == ["/"]
