"""The summary of a run: one screen, and passwords only where they belong."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins/action/site_summary.py"
PASSWORD = "abcd-efgh-jkmn"

HOSTVARS = {
    "slm": {
        "address": "10.0.0.1",
        "ansible_facts": {"distribution": "Debian", "distribution_version": "13.7"},
        "proof_result": {
            "checks": [{"name": f"check number {number}"} for number in range(20)],
            "facts": {
                "postgresql": "17.6",
                "certificates": {"HTTPS": "2027-12-25", "PostgreSQL": "2027-11-01"},
            },
        },
    },
    "backend": {"address": "10.0.0.2", "ansible_facts": {}, "proof_result": {"skipped": True}},
}


@pytest.fixture
def shown(tmp_path: Path) -> Any:
    """Run the action; returns what it displays, (text, goes to the screen only)."""
    spec = importlib.util.spec_from_file_location("site_summary", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    site_file = tmp_path / "site.json"
    site_file.write_text(json.dumps({"slm": {"username": "admin", "password": PASSWORD}}))

    def run(new_administrators: list[str], *, check: bool = False) -> list[tuple[str, bool]]:
        action = module.ActionModule(
            task=SimpleNamespace(
                args={
                    "title": "AutoBot lab, release 1.0.0",
                    "url": "https://slm",
                    "backend_url": "https://backend:8443",
                    "ca": "/ca.crt",
                    "site_file": str(site_file),
                    "hosts": list(HOSTVARS),
                    "new_administrators": new_administrators,
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
        assert action.run(task_vars={"hostvars": HOSTVARS}) == {"changed": False}
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
    assert "20 checks passed" in text
    assert "https://slm" in text
    assert "https://backend:8443" in text


def test_fits_on_a_screen(shown: Any) -> None:
    lines = "\n".join(text for text, _ in shown(["slm"])).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
