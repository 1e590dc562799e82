"""Ports that the bundle needs, and others have."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from .formatting import is_any, listed, shown
from .gateways import gateway
from .hosts import Conflict, Host, Port
from .network import program_of

OUR_SITES: Final = ("/etc/nginx/conf.d/autobot-slm.conf", "/etc/nginx/conf.d/autobot-auth.conf")
# The package's example; the run removes it, or stops by itself where somebody has changed it.
EXAMPLE_SITE: Final = "/etc/nginx/sites-enabled/default"


def port_conflicts(host: Host) -> list[Conflict]:
    """Ports that the bundle needs and another program, or another site of nginx, has."""
    found = []
    for wanted in host.ports:
        others = [
            it
            for it in host.survey["listeners"]
            if it["protocol"] == "tcp"
            and it["port"] == wanted["port"]
            and collides(it["address"], wanted["addresses"])
            and it["program"] != ("nginx" if wanted["unit"] == "nginx.service" else "postgres")
        ]
        holders = [*dict.fromkeys(map(program_of, others))]
        sites = strange_sites(host, wanted["port"]) if wanted["unit"] == "nginx.service" else []
        if holders or sites:
            units = [*dict.fromkeys(it["unit"] for it in others if it["unit"])]
            found.append(port_conflict(host, wanted, holders + sites, units))
    return found


def collides(address: str, wanted: list[str]) -> bool:
    """Whether a listener keeps another from the wanted addresses; none wanted means every one."""
    return not wanted or is_any(address) or any(is_any(it) or it == address for it in wanted)


def strange_sites(host: Host, port: int) -> list[str]:
    """Servers of nginx that have a port which the bundle's site does not have yet."""
    web = host.survey["web"]
    servers = [
        server
        for server in web.get("servers") or []
        if any(listen["port"] == port for listen in server["listens"])
    ]
    if any(server["file"] in OUR_SITES for server in servers):
        return []
    if web.get("error"):
        holds = any(
            it["program"] == "nginx" and it["port"] == port for it in host.survey["listeners"]
        )
        unread = f"nginx, whose configuration cannot be read ({shown(web['error'])})"
        return [unread] if holds and not any(host.survey["ours"].values()) else []
    return [
        f"the nginx server {shown(' '.join(server['names']) or '_')} of {shown(server['file'])}"
        for server in servers
        if not is_example(server) and server["file"] not in host.replaced_sites
    ]


def is_example(server: Mapping[str, Any]) -> bool:
    """Whether it is the site that the package of nginx brings."""
    return (
        server["file"] == EXAMPLE_SITE
        and all(listen["port"] == 80 for listen in server["listens"])
        and not any(location["upstream"] for location in server["locations"])
    )


def port_conflict(host: Host, wanted: Port, holders: list[str], units: list[str]) -> Conflict:
    port = wanted["port"]
    stop = f" (systemctl disable --now {shown(shlex.join(units))})" if units else ""
    entries = gateway(host, [it["port"] for it in host.ports if it["unit"] == "nginx.service"])
    return Conflict(
        host.name,
        "port",
        f"Port {port} belongs to {listed(holders)}.",
        f"The run needs it for {wanted['comment']} ({wanted['unit']}).",
        "Let what has it go on behind the gateway, as these lines say:"
        if entries
        else f"Nothing in the inventory moves it: let it listen elsewhere, or stop it{stop}.",
        port,
        entries,
    )
