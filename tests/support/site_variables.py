"""The variables of an inventory and of the playbooks beside it, by Ansible itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from tests.support.role_files import ROOT


def read_site(inventory_file: Path) -> tuple[HostVars, VariableManager]:
    """The hosts' variables as other hosts have them, and what further facts can be given to."""
    loader = DataLoader()
    loader.set_basedir(str(ROOT / "playbooks"))
    inventory = InventoryManager(loader, sources=[str(inventory_file)])
    variables = VariableManager(loader, inventory)
    return HostVars(inventory, variables, loader), variables


def value_of(hosts: HostVars, host: str, name: str, **more: Any) -> Any:
    """The value of a variable as the host itself has it, also where it asks for other hosts'."""
    raw = {**hosts.raw_get(host), **more}
    return Templar(DataLoader(), variables={**raw, "hostvars": hosts}).template(raw[name])
