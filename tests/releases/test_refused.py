"""Runs that fail, at each stage: after a reboot of all hosts, what served before serves again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.site import (
    HOSTS,
    Site,
    ansible,
    ansible_process,
    execute,
    kill,
    must,
    on,
    wait_until,
)
from tests.releases.releases import (
    CHANGE,
    HALF,
    MIGRATION,
    assert_said,
    assert_serves,
    in_use,
    left_as_found,
    links,
    make,
    run,
)

# What a service runs with besides its release. Backups and certificates go on meanwhile.
FILES = {
    "slm": (
        "/etc/systemd/system/autobot-slm-users.service",
        "/etc/systemd/system/autobot-slm-users.socket",
        "/etc/systemd/system/autobot-slm-housekeeping.timer",
        "/etc/autobot-users/slm-server.env",
        "/etc/autobot-users/credentials",
        "/etc/nginx/conf.d",
        "/usr/local/sbin/slm",
    ),
    "backend": (
        "/etc/systemd/system/autobot-auth.service",
        "/etc/systemd/system/autobot-auth.socket",
        "/etc/autobot-users/auth.env",
        "/etc/autobot-users/auth-credentials",
        "/etc/autobot-users/auth-public-keys.pem",
        "/etc/nginx/conf.d",
    ),
}
# Each would be seen in the environment of a service.
SETTINGS = {
    "slm_server_settings": {"PASSWORD_HISTORY": "7"},
    "autobot_backend_settings": {"PASSWORD_HISTORY": "7"},
}
# In force from the switch on, and accepted by the model: nobody listens there.
NOWHERE = {"autobot_backend_settings": {"AUTOBOT_POSTGRES_PORT": "5433"}}


@pytest.fixture(autouse=True)
def lab_left_as_found() -> Iterator[None]:
    with left_as_found():
        yield


def what_services_run_with() -> dict[str, str]:
    """Every file of the services, with its content, owner and mode; and the releases."""
    found = {
        host: must(
            host,
            *("find", *paths, "-type", "f"),
            *("-exec", "stat", "--format=%n %a %U", "{}", "+", "-exec", "sha256sum", "{}", "+"),
        )
        for host, paths in FILES.items()
    }
    return {**found, "links": str(links())}


def is_up(name: str) -> bool:
    state = on(name, "systemctl", "is-system-running").stdout.strip()
    return state in {"running", "degraded"}


def reboot() -> None:
    """All hosts at once."""
    stopped = execute(["podman", "restart", "--time", "5", *HOSTS])
    assert stopped.status == 0, stopped.text
    for name in HOSTS:
        wait_until(partial(is_up, name), f"{name} has started")


@pytest.fixture
def before() -> dict[str, str]:
    return what_services_run_with()


def assert_as_before(site: Site, before: dict[str, str], release: str) -> None:
    """At once, and after a reboot."""
    assert what_services_run_with() == before
    assert_serves(site, release)
    reboot()
    assert_serves(site, release)
    assert what_services_run_with() == before


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"slm_server_settings": {"BCRYPT_COST": "99"}}, "Correct BCRYPT_COST: Input should be"),
        pytest.param(
            {"autobot_backend_settings": {"HASH_THREADS": "many"}},
            "Correct HASH_THREADS: Input",
            marks=pytest.mark.full,
        ),
        pytest.param(
            {"slm_server_session_idle_minutes": 1},
            "at least ACCESS_TOKEN_EXPIRE_MINUTES",
            marks=pytest.mark.full,
        ),
        pytest.param(
            {"slm_server_settings": {"AUTOBOT_POSTGRES_PORT": "x"}},
            "AUTOBOT_POSTGRES_* is not usable",
            marks=pytest.mark.full,
        ),
    ],
    ids=["number", "word", "two that do not fit", "database"],
)
def test_settings_are_refused_before_any_host_is_touched(
    variables: dict[str, object], said: str, before: dict[str, str]
) -> None:
    refused = ansible("site.yml", "--extra-vars", json.dumps(variables))
    assert refused.status == 2
    assert_said(refused, said, "No host was touched.")
    assert set(refused.changed.values()) == {0}
    assert what_services_run_with() == before


def test_a_release_judges_its_settings_itself(site: Site, before: dict[str, str]) -> None:
    """Also one that is not the checkout's, as in a rollback."""
    old = in_use("slm")
    stricter = ("user_management/config.py", "ge=MIN_COST", "ge=14")
    failed = run(CHANGE, make(slm=stricter), slm_server_settings={"BCRYPT_COST": "13"})
    assert failed.status == 2
    assert_said(failed, "refuses its settings on slm", "BCRYPT_COST: Input should be greater than")
    assert_as_before(site, before, old)


@pytest.mark.parametrize(
    ("migration", "breaks", "said"),
    [
        pytest.param(HALF, {}, "autobot_users was not migrated", marks=pytest.mark.full),
        pytest.param(
            MIGRATION,
            {"slm": ("slm_server/app.py", "def create_app(", "raise SystemExit\ndef create_app(")},
            "does not answer on slm",
            marks=pytest.mark.full,
        ),
        (
            MIGRATION,
            {"backend": ("user_management_web/health.py", "/ready", "/never")},
            "Ask from outside whether the release serves",
        ),
    ],
    ids=["migration", "start", "health"],
)
def test_a_release_that_fails_leaves_what_served(
    site: Site,
    before: dict[str, str],
    migration: str,
    breaks: dict[str, tuple[str, str, str]],
    said: str,
) -> None:
    old = in_use("slm")
    failed = run(CHANGE, make(migration, **breaks), **SETTINGS)
    assert failed.status == 2
    assert_said(failed, said)
    assert_as_before(site, before, old)


def test_settings_with_which_the_same_release_does_not_serve_go_back(
    site: Site, before: dict[str, str]
) -> None:
    old = in_use("slm")
    failed = run(CHANGE, old, **{**SETTINGS, **NOWHERE})
    assert failed.status == 2
    assert_said(failed, f"slm is back at {old}, which serves.", f"backend is back at {old}")
    assert_as_before(site, before, old)


@pytest.mark.parametrize(
    ("task", "another"),
    [
        pytest.param("TASK [pki : ", False, marks=pytest.mark.full),
        ("TASK [service : Let the service and", True),
        pytest.param("TASK [service : Let the timers", True, marks=pytest.mark.full),
        pytest.param("TASK [service : Let the timers", False, marks=pytest.mark.full),
    ],
    ids=["before the switch", "after it", "after the restart", "the same with other settings"],
)
def test_a_controller_that_dies_leaves_what_served(
    site: Site, before: dict[str, str], task: str, another: bool
) -> None:
    """The timers that would go back do not outlive the reboot."""
    old = in_use("slm")
    variables = {"release_id": make() if another else old, **SETTINGS}
    with ansible_process(CHANGE, "--extra-vars", json.dumps(variables)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(task):
                break
        else:
            raise AssertionError(f"there was no {task}")
        kill(process.pid)
    reboot()
    assert_serves(site, old)
    assert what_services_run_with() == before
