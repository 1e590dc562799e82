"""What `ansible-doc` says of a module or an action is what it takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import COLLECTION, load_plugin

MODULES = sorted(path.stem for path in COLLECTION.glob("plugins/modules/*.py"))
ACTIONS = sorted(path.stem for path in COLLECTION.glob("plugins/action/*.py"))


class AskedError(Exception):
    """Holds the options that a module asks Ansible for."""


def documented(plugin: Any) -> dict[str, Any]:
    options: dict[str, Any] = yaml.safe_load(plugin.DOCUMENTATION).get("options", {})
    return options


def facts(options: dict[str, Any], inner: str) -> dict[str, Any]:
    """What documentation and specification both say of options."""
    known = {"description", "type", "elements", "required", "default", "choices", "no_log", inner}
    assert {key for option in options.values() for key in option} <= known
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "options": facts(option[inner], inner) if inner in option else None,
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_plugin(f"modules.{name}")

    def ask(argument_spec: dict[str, Any], **_: object) -> None:
        raise AskedError(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", ask)
    with pytest.raises(AskedError) as asked:
        module.main()
    (spec,) = asked.value.args
    assert facts(documented(module), "suboptions") == facts(spec, "options")


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_documented(name: str) -> None:
    action = load_plugin(f"action.{name}")
    assert facts(documented(action), "suboptions") == facts(action.ActionModule.OPTIONS, "options")


def test_each_plugin_has_the_name_of_its_file() -> None:
    kinds = {"modules": "module", "action": "name", "callback": "name"}
    found: list[Path] = []
    for directory, key in kinds.items():
        for path in COLLECTION.glob(f"plugins/{directory}/*.py"):
            said = yaml.safe_load(load_plugin(f"{directory}.{path.stem}").DOCUMENTATION)
            assert said[key] == path.stem
            found.append(path)
    assert len(found) > 20


@pytest.mark.parametrize("name", MODULES)
def test_a_module_returns_no_word_of_ansibles(name: str) -> None:
    """Of a result with `skipped`, even an empty one, Ansible asks no `changed_when`."""
    returned = yaml.safe_load(load_plugin(f"modules.{name}").RETURN) or {}
    assert not {"changed", "failed", "skipped"} & returned.keys()
