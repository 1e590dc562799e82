"""The roles' templates and filters, as Ansible renders and loads them."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/autobot/users"


def render(role: str, template: str, **variables: Any) -> str:
    """A template of a role with these variables, as it comes to a host."""
    text = (ROOT / "roles" / role / "templates" / template).read_text()
    loader = DataLoader()
    # The only role that has templates which others include.
    loader.set_basedir(str(ROOT / "roles" / "service" / "templates"))
    templar = Templar(loader, variables={"ansible_managed": "Ansible managed", **variables})
    return str(templar.template(trust_as_template(text)))


def role_vars(role: str, **variables: Any) -> Callable[[str], Any]:
    """What a role's own variables come to, by their name, beside these."""
    loader = DataLoader()
    own = loader.load_from_file(
        str(ROOT / "roles" / role / "vars" / "main.yml"), trusted_as_template=True
    )
    templar = Templar(loader, variables={**own, **variables})
    return lambda name: templar.template(own[name])


class Loader(yaml.SafeLoader):
    """Ansible's own tags are of no interest to who looks at its files."""


Loader.add_multi_constructor("!", lambda *_: None)


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a value, those within others too."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from mappings(inner)


@cache
def role_mappings() -> list[tuple[Path, dict[str, Any]]]:
    """The mappings in the tasks, handlers and variables of all roles, and the files they are in."""
    return [
        (path, mapping)
        for path in sorted(ROOT.glob("roles/*/[thv]*/*.yml"))
        for mapping in mappings(yaml.load(path.read_text(), Loader))  # noqa: S506
    ]


def load_plugin(name: str) -> Any:
    """A module of the collection's plugins, such as `action.packages`."""
    return importlib.import_module(f"ansible_collections.autobot.users.plugins.{name}")


def load_file(path: str) -> Any:
    """A Python file of the project that is no part of a package."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"loaded_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
