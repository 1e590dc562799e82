#!/usr/bin/python
"""Say what is on a host, and change nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.survey import (
    clusters,
    databases,
    firewalls,
    network,
    programs,
    reading,
    system,
    web,
)

DOCUMENTATION = """
module: host_survey
short_description: what is on a host
description:
  - Reads who listens and who is connected, the firewalls, nginx, PostgreSQL and the stores in it,
    and the system that they are on. It changes nothing, and judges nothing.
  - What is not there is empty; what is there and cannot be read is named in C(unreadable).
options: {}
"""

RETURN = """
survey:
  description: What was found; the parts in C(module_utils/survey) give the shapes.
  type: dict
  returned: always
"""


def survey() -> dict[str, Any]:
    """All that is found on this host."""
    unreadable: list[str] = []
    found = clusters.clusters()
    of_system = system.read_system(Path("/"), unreadable)
    read_programs = partial(programs.read_programs, Path("/"), of_system["units"])
    read_sockets = partial(network.read_sockets, Path("/proc"), unreadable)
    nothing: list[dict[str, Any]] = []
    nobody: dict[str, Any] = {"listeners": [], "outgoing": []}
    return {
        **of_system,
        "programs": reading.guarded("programs", read_programs, nothing, unreadable),
        **reading.guarded("sockets", read_sockets, nobody, unreadable),
        "firewalls": firewalls.read_firewalls(Path("/etc"), unreadable),
        "web": web.read_web(Path("/etc/nginx/nginx.conf"), unreadable),
        "postgresql": found,
        "stores": databases.stores(found),
        "unreadable": unreadable,
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, survey=survey())


if __name__ == "__main__":
    main()
