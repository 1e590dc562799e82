"""Judge what runs on the hosts already against what the inventory says."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ansible_collections.autobot.users.plugins.module_utils.files import replace_file
from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction
from ansible_collections.autobot.users.plugins.plugin_utils.assessment import (
    Cluster,
    Conflict,
    Host,
    Port,
    conflicts,
    differences,
    document,
    extended,
    markdown_report,
    proposal,
    refusal,
)
from ansible_collections.autobot.users.plugins.plugin_utils.checkout import ROOT

DOCUMENTATION = """
name: site_assessment
short_description: what a run would break, and what answers it
description:
  - Takes what C(host_survey) has found on each host (C(survey_result)) and what the inventory says,
    and finds all conflicts of all hosts. No host is asked or touched.
  - In check mode nothing is written.
options:
  hosts:
    description: Names of the hosts. What is wanted of them are host variables.
    type: list
    elements: str
    required: true
  report:
    description: Directory for C(assessment.md) and C(assessment.json), for its owner only.
    type: path
  proposal:
    description:
      - Directory of the inventory. A file of C(host_vars) that a host lacks is written with what
        answers its conflicts. To one that is there nothing is done; what it lacks is in the report
        and in the result.
    type: path
  refuse:
    description: Whether a conflict fails the task. Then nothing is written.
    type: bool
    default: false
"""

RETURN = """
conflicts:
  description: What must be decided, with C(host), C(kind), C(what), C(why), C(answer), C(lines).
  type: list
  elements: dict
  returned: always
written:
  description: Files that were written, or would be in check mode.
  type: list
  elements: str
  returned: always
differences:
  description: Of each file of the inventory that is there already, the diff that it lacks.
  type: dict
  returned: always
"""

DIRECTORIES = ["/etc/autobot-users", "/opt/autobot-users"]
# As in the roles' tasks. A group's listeners are on all addresses, but for PostgreSQL's.
PORTS: dict[str, list[tuple[int, str, str]]] = {
    "slm_server": [
        (80, "nginx.service", "redirects of plain HTTP"),
        (443, "nginx.service", "the SLM API and the admin UI"),
        (8000, "nginx.service", "redirects from the old port"),
    ],
    "autobot_backend": [(8443, "nginx.service", "the authentication of application users")],
    "postgresql": [(5432, "PostgreSQL", "its database")],
}
REDIRECTING = (80, 8000)
# What the proposal adds to, and must repeat.
LISTS = ("firewall_allow", "postgresql_hba", "postgresql_listen_addresses")


def plain(value: Any) -> Any:
    """A value without what Ansible keeps in it, such as where it comes from."""
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str.__str__(value) if isinstance(value, str) else value


def default_version(system: Mapping[str, str]) -> str:
    """The major version of PostgreSQL that a system has; empty if it is none of the supported."""
    path = ROOT / "roles/postgresql/vars/main.yml"
    versions = yaml.safe_load(path.read_text())["postgresql_distribution_versions"]
    name, version = system["distribution"], system["version"]
    release = version if name == "Ubuntu" else version.split(".")[0]
    return str(versions.get(f"{name}-{release}", ""))


def cluster_of(variables: Mapping[str, Any], survey: Mapping[str, Any]) -> Cluster | None:
    """The cluster that the inventory wants on a host."""
    if "postgresql" not in variables["group_names"]:
        return None
    given = variables.get("postgresql_version")
    return {
        "version": str(given or default_version(survey["system"])),
        "owners": {it["name"]: it["owner"] for it in variables["postgresql_databases"]},
        "adopt_from": variables.get("postgresql_adopt_from", ""),
        "hba": variables["postgresql_hba_services"] + variables.get("postgresql_hba", []),
        "listen_addresses": variables["postgresql_listen_addresses"],
    }


def ports_of(groups: list[str], cluster: Cluster | None, redirects: list[int]) -> list[Port]:
    """The ports on which the bundle will listen."""
    addresses = cluster["listen_addresses"] if cluster else []
    return [
        {
            "port": port,
            "unit": unit,
            "comment": comment,
            "addresses": addresses if group == "postgresql" else [],
        }
        for group, ports in PORTS.items()
        if group in groups
        for port, unit, comment in ports
        if port not in REDIRECTING or port in redirects
    ]


def host_of(name: str, raw: Mapping[str, Any], template: Callable[[Any], Any]) -> Host:
    """A host, from its variables as the inventory has them; `template` gives their values."""
    wanted = (
        *("address", "group_names", "site_networks", "survey_result"),
        *("firewall_mode", "firewall_ssh_sources", "firewall_services", "firewall_allow"),
        *("postgresql_version", "postgresql_databases", "postgresql_adopt_from"),
        *("postgresql_hba_services", "postgresql_hba", "postgresql_listen_addresses"),
        *("site_certificate_names", "site_manager"),
        *("slm_server_redirect_ports", "slm_server_gateway", "autobot_backend_gateway"),
        "adoption_source",
    )
    variables = {key: plain(template(raw[key])) for key in wanted if key in raw}
    survey = variables["survey_result"]["survey"]
    cluster = cluster_of(variables, survey)
    return Host(
        name=name,
        address=variables["address"],
        networks=variables["site_networks"],
        firewall_mode=variables.get("firewall_mode", "own"),
        ssh_sources=variables["firewall_ssh_sources"],
        services=variables.get("firewall_services", []),
        allow=variables.get("firewall_allow", []),
        ports=ports_of(
            variables["group_names"], cluster, variables.get("slm_server_redirect_ports", [])
        ),
        replaced_sites=[
            site
            for role in ("slm_server", "autobot_backend")
            for site in variables.get(f"{role}_gateway", {}).get("replaces", [])
        ],
        names=variables["site_certificate_names"],
        manager=variables["site_manager"],
        postgresql=cluster,
        directories=DIRECTORIES,
        # A list that is one template is repeated as what it gives.
        as_written={
            key: plain(raw[key]) if isinstance(raw[key], list) else variables[key]
            for key in LISTS
            if key in variables
        },
        survey=survey,
        adoption=variables.get("adoption_source"),
    )


def place_of(path: Path) -> Path | None:
    """What Ansible reads for a host instead of a new `host_vars/<host>.yml`; None if nothing."""
    for suffix in ("", ".yml", ".yaml", ".json"):
        place = path.with_name(f"{path.stem}{suffix}")
        if os.path.lexists(place):
            return place
    return None


def lacking(place: Path, host: Host, found: list[Conflict], text: str) -> str:
    """What a file that is there lacks, as a unified diff.

    Where nothing can be put between its lines, the diff is of a file with what is proposed.
    """
    before = place.read_text() if place.is_file() and place.suffix != ".json" else ""
    if before.startswith("$ANSIBLE_VAULT;"):
        before = ""
    after = extended(before, host, found) if before else text
    name = str(place / "assessment.yml") if place.is_dir() else str(place)
    lines = (before.splitlines(), after.splitlines())
    return "\n".join(difflib.unified_diff(*lines, name, name, lineterm=""))


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "hosts": {"type": "list", "elements": "str", "required": True},
        "report": {"type": "path"},
        "proposal": {"type": "path"},
        "refuse": {"type": "bool", "default": False},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        hosts = [self._host(self.variables["hostvars"], name) for name in arguments["hosts"]]
        found = conflicts(hosts)
        result: dict[str, Any] = {
            "changed": False,
            "conflicts": [conflict.as_dict() for conflict in found],
            "written": [],
            "differences": {},
        }
        if arguments["refuse"] and found:
            return result | {"failed": True, "msg": refusal(found)}
        # Files with their text and mode.
        files: dict[Path, tuple[str, int]] = {}
        if arguments["proposal"]:
            by_name = {host.name: host for host in hosts}
            for name, text in proposal(hosts, found).items():
                path = Path(arguments["proposal"]) / name
                place = place_of(path)
                if place is None:
                    files[path] = (text, 0o644)
                else:
                    diff = lacking(place, by_name[path.stem], found, text)
                    result["differences"][str(place)] = diff
        if arguments["report"]:
            directory = Path(arguments["report"])
            said = markdown_report(hosts, found) + differences(result["differences"])
            data = json.dumps(document(hosts, found), indent=2) + "\n"
            files[directory / "assessment.md"] = (said, 0o600)
            files[directory / "assessment.json"] = (data, 0o600)
        for path, (text, mode) in files.items():
            if not path.is_file() or path.read_text() != text:
                result["written"].append(str(path))
                if not self._task.check_mode:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    replace_file(path, text.encode(), mode=mode)
        return result | {"changed": bool(result["written"])}

    def _host(self, hostvars: Any, name: str) -> Host:
        # What hostvars templates by itself must not speak of other hosts' variables.
        raw = hostvars.raw_get(name)
        variables = {**raw, "hostvars": hostvars}
        return host_of(
            name, raw, self._templar.copy_with_new_env(available_variables=variables).template
        )
