"""Every role says what it takes, truthfully: specification, defaults and README agree."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.support.role_files import ROOT

ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


@pytest.fixture(params=ROLES, ids=lambda role: str(role.name))
def role(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def specified(role: Path) -> dict[str, Any]:
    """The options of all entry points."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return {
        name: option
        for entry in specs.values()
        for name, option in entry.get("options", {}).items()
    }


def defaults(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def test_there_are_roles() -> None:
    assert len(ROLES) >= 10


def test_every_default_is_of_a_specified_option(role: Path) -> None:
    assert set(defaults(role)) <= set(specified(role))


def test_specified_defaults_are_the_real_ones(role: Path) -> None:
    real = defaults(role)
    stated = {
        name: option["default"] for name, option in specified(role).items() if "default" in option
    }
    assert stated == {name: real.get(name) for name in stated}


def test_a_default_is_what_its_own_specification_takes(role: Path) -> None:
    """An empty mapping lacks what its options require: a run without it would be refused."""
    stated = {name: option for name, option in specified(role).items() if "default" in option}
    given = {name: option["default"] for name, option in stated.items()}
    assert ArgumentSpecValidator(stated).validate(given).error_messages == []


def test_what_is_required_has_no_default(role: Path) -> None:
    required = {name for name, option in specified(role).items() if option.get("required", False)}
    assert not required & set(defaults(role))


def test_what_holds_a_secret_is_marked(role: Path) -> None:
    telling = {
        name
        for name in specified(role)
        if name.rsplit("_", 1)[-1] in {"password", "passwords", "secret", "token"}
        or name.endswith(("private_key", "signing_key"))
    }
    assert telling == {name for name in telling if specified(role)[name].get("no_log") is True}


def test_the_readmes_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "role_readmes.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
