"""The summary of a run: one screen, and passwords only where they belong."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.role_files import load_plugin

PASSWORD = "abcd-efgh-jkmn"

HOSTVARS = {
    "slm": {
        "address": "10.0.0.1",
        "ansible_facts": {"distribution": "Debian", "distribution_version": "13.7"},
        "proof_result": {
            "checks": [
                {"name": f"check number {number}", "ok": True, "detail": ""} for number in range(20)
            ],
            "facts": {
                "postgresql": "17.6",
                "certificates": {"HTTPS": "2027-12-25", "PostgreSQL": "2027-11-01"},
            },
        },
    },
    "backend": {
        "address": "10.0.0.2",
        "ansible_facts": {},
        "proof_result": {
            "checks": [{"name": "the API asks who is calling", "ok": True, "detail": ""}],
            "facts": {},
        },
    },
}
PASSED = "checks passed: what must work works, what must be refused is refused."


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the action; returns what it displays, (text, goes to the screen only)."""
    module = load_plugin("action.site_summary")
    # How long the name of the directory is has no part in it.
    monkeypatch.chdir(tmp_path)
    Path("site.json").write_text(json.dumps({"slm": {"username": "admin", "password": PASSWORD}}))

    def run(
        new_administrators: list[str],
        *,
        check: bool = False,
        hostvars: dict[str, Any] = HOSTVARS,
        warnings: tuple[str, ...] = (),
        result: dict[str, Any] | None = None,
    ) -> list[tuple[str, bool]]:
        action = module.ActionModule(
            task=SimpleNamespace(
                args={
                    "title": "AutoBot lab, release 1.0.0",
                    "url": "https://slm",
                    "backend_url": "https://backend:8443",
                    "ca": "/ca.crt",
                    "site_file": "site.json",
                    "hosts": list(hostvars),
                    "new_administrators": new_administrators,
                    "warnings": list(warnings),
                },
                action="site_summary",
                async_val=0,
                check_mode=check,
            ),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=None,
            templar=None,
            shared_loader_obj=None,
        )
        displayed: list[tuple[str, bool]] = []
        action._display = SimpleNamespace(
            display=lambda text, color=None, screen_only=False: displayed.append(  # noqa: ARG005
                (text, screen_only)
            )
        )
        returned = action.run(task_vars={"hostvars": hostvars})
        if result is None:
            assert returned == {"changed": False}
        else:
            result |= returned
        return displayed

    return run


def test_a_new_password_is_shown_once_and_not_logged(shown: Any) -> None:
    containing = [screen_only for text, screen_only in shown(["slm"]) if PASSWORD in text]
    assert containing == [True]


@pytest.mark.parametrize(("new", "check"), [([], False), (["slm"], True)])
def test_an_old_password_is_not_shown(shown: Any, new: list[str], check: bool) -> None:
    assert not [text for text, _ in shown(new, check=check) if PASSWORD in text]


def test_says_where_what_and_how_long(shown: Any) -> None:
    text = "\n".join(text for text, _ in shown([]))

    assert "AutoBot lab, release 1.0.0" in text
    assert "10.0.0.1" in text
    assert "Debian 13.7, PostgreSQL 17.6, certificates until 2027-11-01" in text
    assert f"21 {PASSED}" in text
    assert "https://slm" in text
    assert "https://backend:8443" in text


def test_a_warning_is_shown_and_fails_nothing(shown: Any) -> None:
    text = "\n".join(text for text, _ in shown([], warnings=("the backups are here.",)))
    assert "\nWARNING: the backups are here.\n" in text
    assert f"21 {PASSED}" in text


def test_fits_on_a_screen(shown: Any) -> None:
    lines = "\n".join(text for text, _ in shown(["slm"])).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def passed(name: str = "it serves") -> dict[str, Any]:
    return {"name": name, "ok": True, "detail": ""}


def failed(detail: str) -> dict[str, Any]:
    return {"name": "it refuses", "ok": False, "detail": detail}


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        pytest.param(
            {"proof_result": {"failed": True, "checks": [passed(), failed("it was let in")]}},
            ["FAILED it refuses: it was let in", "1 of 22 checks failed"],
            id="a check has failed",
        ),
        pytest.param(
            {"proof_result": {"failed": True, "checks": [failed("")]}},
            ["FAILED it refuses: no reason was given", "1 of 21 checks failed"],
            id="a check has failed and says nothing",
        ),
        pytest.param(
            {
                "proof_result": {"failed": True, "msg": "MODULE FAILURE"},
                "proof_failure": "Prove what must work: MODULE FAILURE",
            },
            [
                "FAILED not checked: Prove what must work: MODULE FAILURE",
                "backend was not checked",
            ],
            id="the checks could not be made",
        ),
        pytest.param(
            {"proof_failure": "Install the client: no\npackage"},
            ["FAILED not checked: Install the client: no package", "backend was not checked"],
            id="what the checks need could not be had",
        ),
        pytest.param(
            {},
            ["FAILED not checked: this run lost it", "backend was not checked"],
            id="the run lost the host before",
        ),
        pytest.param(
            {"proof_result": {"skipped": True}},
            ["FAILED not checked: no check was made there", "backend was not checked"],
            id="the checks were skipped",
        ),
        pytest.param(
            {"proof_result": {"checks": [], "facts": {}}},
            ["FAILED not checked: no check was made there", "backend was not checked"],
            id="there was nothing to check",
        ),
    ],
)
def test_what_is_not_proved_is_said_and_fails(
    shown: Any, backend: dict[str, Any], words: list[str]
) -> None:
    hostvars = HOSTVARS | {"backend": {"address": "10.0.0.2", "ansible_facts": {}, **backend}}
    result: dict[str, Any] = {}

    text = "\n".join(text for text, _ in shown([], hostvars=hostvars, result=result))

    for word in words:
        assert word in text
    assert PASSED not in text
    assert result["failed"] is True
    assert "backend: " in result["msg"]
    assert not re.search(r":\s*$", result["msg"])
    # The others are shown as they are.
    assert "check number 19" in text


def test_a_site_without_hosts_is_not_proved(shown: Any) -> None:
    result: dict[str, Any] = {}
    text = "\n".join(text for text, _ in shown([], hostvars={}, result=result))
    assert PASSED not in text
    assert result["failed"] is True


def test_check_mode_proves_nothing_and_does_not_fail(shown: Any) -> None:
    unchecked = {
        name: {"address": host["address"], "proof_result": {"skipped": True}}
        for name, host in HOSTVARS.items()
    }
    text = "\n".join(text for text, _ in shown([], check=True, hostvars=unchecked))
    assert "Nothing was checked: this was a run in check mode." in text
    assert PASSED not in text
    assert "FAILED" not in text
