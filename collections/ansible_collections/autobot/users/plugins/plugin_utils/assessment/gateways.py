"""AutoBot's own services behind ours: what its sites of nginx say, as the gateway's variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from .formatting import in_order, shown
from .hosts import Entry, Host


class Service(NamedTuple):
    """One of AutoBot's services, and the role of ours that takes its place in front."""

    variable: str
    port: int
    # A location that leads to the service itself.
    own: str
    # Where it may have the secret that it signs tokens with.
    secrets: tuple[tuple[str, str], ...]
    # What machines ask of it that log in nowhere, and which.
    requests: tuple[str, ...]
    machines: Callable[[Host, int], list[str]]


def everybody(host: Host, port: int) -> list[str]:
    """The machines of the inventory, and who has a connection."""
    clients = [
        client["address"]
        for it in host.survey["listeners"]
        if it["port"] == port and it["protocol"] == "tcp"
        for client in it["clients"]
    ]
    return in_order([*host.names, *clients])


def manager(host: Host, _port: int) -> list[str]:
    """The machine of the fleet manager. Where it is this one, people come from it too: none."""
    return [host.manager] if host.manager != host.address else []


SERVICES: Final = (
    Service(
        "slm_server_gateway",
        443,
        "/api/",
        (("/etc/autobot/slm-secrets.env", "SLM_SECRET_KEY"),),
        (
            "POST /api/nodes/[^/]+/heartbeat",
            "GET /api/roles/definitions",
            "POST /api/v1/slm/events/sync",
            "POST /api/code-(sync|source)/notify",
            "GET /api/health(/.*)?",
            "GET /api/performance/metrics/prometheus",
        ),
        everybody,
    ),
    Service(
        "autobot_backend_gateway",
        8443,
        "/",
        (
            ("/etc/autobot/backend.env", "AUTOBOT_JWT_SECRET"),
            ("/etc/autobot/autobot-backend.env", "AUTOBOT_JWT_SECRET"),
        ),
        ("[A-Z]+ /api/.*",),
        manager,
    ),
)
REASON: Final = (
    "AutoBot's own service goes on behind this one: docs/gateway.md. In `open` are the machines of "
    "the inventory, and who has a connection now: add the others that call it without a login."
)
# A location that begins with it, and is no regular expression.
PLAIN: Final = re.compile(r"(?:\^~ )?(/\S*)")
DEFAULT_BODY: Final = "1m"
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
# What the gateway answers itself.
ANSWERED: Final = ("= /nginx-health", "/nginx-health")


def gateway(host: Host, ports: list[int]) -> tuple[Entry, ...]:
    """What would put the servers of nginx that have the bundle's ports behind ours.

    Nothing if they pass nothing on, or nobody knows where AutoBot's secret is.
    """
    return tuple(
        Entry(it.variable, value, REASON)
        for it in SERVICES
        if it.port in ports and (value := wanted(host, it))
    )


def gateway_notes(host: Host) -> list[str]:
    """What AutoBot's sites of nginx do that the gateway, as it is proposed, would not."""
    found = []
    for service in SERVICES:
        value = wanted(host, service)
        routes = {it["path"] for it in value.get("routes", ())}
        for location in locations_of(host, service) if value else ():
            path = PLAIN.fullmatch(location["path"])
            pages = location["path"] == "/" and "pages" in value
            if pages or location["path"] in ANSWERED or (path and path[1] in routes):
                continue
            to = f"leads to {shown(location['upstream'])}" if location["upstream"] else "has files"
            found.append(
                f"nginx's location {shown(location['path'])} on port {service.port} {to}; "
                f"the proposed {service.variable} has no route for it. Add one if it is in use: "
                "docs/gateway.md."
            )
    return found


def sites_of(host: Host, service: Service) -> list[dict[str, Any]]:
    """The servers of nginx that have a service of AutoBot's behind them.

    A site of somebody else's on the same port stays for the operator to decide.
    """
    return [
        server
        for server in host.survey["web"].get("servers") or []
        if any(listen["port"] == service.port for listen in server["listens"])
        and any(it["path"] == service.own and it["upstream"] for it in server["locations"])
    ]


def locations_of(host: Host, service: Service) -> list[dict[str, Any]]:
    return [it for site in sites_of(host, service) for it in site["locations"]]


def upstream_of(host: Host, service: Service) -> str:
    """Where AutoBot's service itself listens; empty where it is not on this host."""
    found = (it["upstream"] for it in locations_of(host, service) if it["path"] == service.own)
    return next(found, "")


def wanted(host: Host, service: Service) -> dict[str, Any]:
    """The gateway's variable; empty where there is none."""
    sites, locations = sites_of(host, service), locations_of(host, service)
    own = upstream_of(host, service)
    secret = next((it for it in service.secrets if it[0] in host.survey["secrets_files"]), None)
    if not own or secret is None:
        return {}
    value: dict[str, Any] = {"replaces": sorted({site["file"] for site in sites})}
    pages = next((site["root"] for site in sites if site["root"]), "")
    if pages and not any(it["path"] == "/" and it["upstream"] for it in locations):
        value["pages"] = pages
    value["secret"] = {"file": secret[0], "variable": secret[1]}
    # Of several with one path, the first: nginx takes one.
    routes: dict[str, dict[str, Any]] = {}
    for it in locations:
        to = behind(host, it["upstream"])
        if passes(to, host.names) and (path := PLAIN.fullmatch(it["path"])):
            routes.setdefault(path[1], route({**it, "upstream": to}, path[1], own, host.names))
    value["routes"] = list(routes.values())
    if machines := service.machines(host, service.port):
        value["open"] = [{"from": machines, "requests": list(service.requests)}]
    return value


def behind(host: Host, upstream: str) -> str:
    """The URL, past the backend's own site where that is on this host: nobody is asked twice."""
    url, backend = urlsplit(upstream), SERVICES[1]
    own = upstream_of(host, backend)
    if own and url.port == backend.port and url.hostname in (host.address, *LOOPBACK):
        return f"{own.rstrip('/')}{url.path}"
    return upstream


def passes(upstream: str, names: Mapping[str, str]) -> bool:
    """Whether this can be a route's: it leads to one server, over TLS to one of the site's."""
    url = urlsplit(upstream)
    return (
        "," not in upstream
        and url.hostname is not None
        and (url.scheme == "http" or url.hostname in names)
    )


def route(
    location: Mapping[str, Any], path: str, own: str, hosts: Mapping[str, str]
) -> dict[str, Any]:
    """A route of the gateway, as a location of nginx says it."""
    found: dict[str, Any] = {"path": path, "to": location["upstream"]}
    url = urlsplit(location["upstream"])
    if same_service(location["upstream"], own):
        found["token"] = True
    # Over TLS the relay passes none on.
    if location["websocket"] and url.scheme == "http":
        found["websocket"] = True
    if location["body"] != DEFAULT_BODY:
        found["body"] = location["body"]
    if url.scheme == "https" and url.hostname in hosts:
        found["name"] = hosts[url.hostname]
    return found


def same_service(one: str, other: str) -> bool:
    """Whether two URLs lead to one host and port."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]
