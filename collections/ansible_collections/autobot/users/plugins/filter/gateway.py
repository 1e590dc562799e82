"""What a web server passes to a service of ours, where it passes all else on to AutoBot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

DOCUMENTATION = """
name: own_locations
short_description: the paths of a service, as regular expressions for nginx
description:
  - Returns one for each path of an OpenAPI document, but for those that AutoBot's programs ask of
    AutoBot's own service (C(/api/health) and below).
options:
  _input:
    description: Text of the document.
    type: str
    required: true
"""

_AUTOBOTS = re.compile("/api/health(/|$)")


def own_locations(document: str) -> list[str]:
    """See DOCUMENTATION."""
    paths = (path for path in json.loads(document)["paths"] if not _AUTOBOTS.match(path))
    return [re.sub(r"\{[^}]+\}", "[^/]+", path.replace(".", "[.]")) for path in paths]


def service_cookie_paths(routes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a gateway's routes, the paths on which a browser proves by a cookie whose a request is.

    Scripts of AutoBot's pages send a header with most requests, but not with uploads, and nobody
    sends one with a WebSocket, a picture or a download. What begins with another is left out.
    """
    found: list[str] = []
    for path in sorted(route["path"] for route in routes):
        if not any(path.startswith(other) for other in found):
            found.append(path)
    return found


# What nginx takes for a path and for nothing else of its language.
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
# nginx's own here: what it says when it refuses, and what it asks.
_NGINXS = ("/.problem/", "/.gateway/")
_SIZE = re.compile(r"[0-9]+[kKmMgG]?")


def gateway_mistakes(
    gateway: Mapping[str, Any], subnet: str, page_prefix: str = "", proxies: Sequence[str] = ()
) -> list[str]:
    """What nginx or the relay would not take of a gateway's variable, in words.

    `subnet` is the site's network, `page_prefix` where the service has pages of its own, and
    `proxies` are the addresses that say for whom they ask.
    """
    return list(_mistakes(gateway, IPv4Network(subnet), page_prefix, proxies)) if gateway else []


def _mistakes(
    gateway: Mapping[str, Any], subnet: IPv4Network, page_prefix: str, proxies: Sequence[str]
) -> Iterator[str]:
    routes = gateway.get("routes") or []
    if not routes:
        yield "`routes` is empty. Say where requests go, or leave the whole variable out."
    paths = [route["path"] for route in routes]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"`routes` has the path {path} more than once. Leave one."
    for route in routes:
        for mistake in _of_route(route, subnet):
            yield f"The route {route['path']}: {mistake}"
        if route["path"] == "/" and gateway.get("pages"):
            yield "The route /: there are AutoBot's pages (`pages`). Leave one of both out."
        if page_prefix and f"{route['path']}/".startswith(f"{page_prefix}/"):
            yield f"The route {route['path']}: {page_prefix} has the service's own pages."
    for each in gateway.get("open") or []:
        yield from _of_open(each, proxies)


def _of_route(route: Mapping[str, Any], subnet: IPv4Network) -> Iterator[str]:
    path = route["path"]
    if not path.startswith("/") or not _PATH.fullmatch(path) or path.startswith(_NGINXS):
        yield (
            "a path begins with / and has letters, digits, and . _ ~ - in it, such as /api/ or "
            "/grafana/."
        )
    if not _SIZE.fullmatch(str(route.get("body", "1m"))):
        yield f"`body` is {route['body']}; nginx writes 10 MiB as 10m."
    try:
        url = urlsplit(route["to"])
        port, host = url.port, url.hostname or ""
    except ValueError:
        url, port, host = SplitResult("", "", "", "", ""), None, ""
    if (
        url.scheme not in ("http", "https")
        or url.username is not None
        or url.query
        or url.fragment
        or not (host == "localhost" or _is(ip_address, host))
        or not _PATH.fullmatch(url.path)
        or port == 0
    ):
        yield (
            f"`to` is {route['to']}; it has to be a URL with an address, such as "
            "http://127.0.0.1:8000 or https://172.16.168.20:8443/api/. A name would be looked up "
            "as nginx starts, which does not start where nobody answers."
        )
        return
    if url.scheme == "https" and not route.get("name"):
        yield "`name` is missing: the name in the certificate of an https URL."
    is_near = host == "localhost" or (
        _is(IPv4Address, host) and (IPv4Address(host).is_loopback or IPv4Address(host) in subnet)
    )
    if route.get("websocket") and not (url.scheme == "http" and is_near):
        yield (
            f"WebSockets go over http to an IPv4 address of this host or of {subnet}, and "
            f"`to` is {route['to']}. Leave `websocket` out, or give another URL."
        )


def _of_open(each: Mapping[str, Any], proxies: Sequence[str]) -> Iterator[str]:
    for address in each["from"]:
        if not _is(ip_network, address):
            yield f"`from` of `open` has {address}; allowed are addresses and networks (CIDR)."
        elif address in proxies:
            yield (
                f"`from` of `open` has {address}, and through it come people too (site_frontends): "
                "it would let them in without a login. Leave it out; a program on that machine can "
                "ask AutoBot's own port."
            )
    for request in each["requests"]:
        if not re.fullmatch(r'[^\s"]+ /[^\s"]*(?:\|[^\s"]+ /[^\s"]*)*', request):
            yield (
                f"`requests` of `open` has {request!r}; it has to be a method, a space and a path, "
                "as a regular expression, such as POST /api/nodes/[^/]+/heartbeat."
            )
        elif "(?<" in request or "(?P" in request or not _is(re.compile, request):
            yield (
                f"`requests` of `open` has {request!r}, which is no regular expression, or has a "
                "named group."
            )


def _is(read: Callable[[str], object], text: str) -> bool:
    """Whether it can be read as that."""
    try:
        read(text)
    except (ValueError, re.error):
        return False
    return True


class FilterModule:
    """Makes the filters known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "gateway_mistakes": gateway_mistakes,
            "own_locations": own_locations,
            "service_cookie_paths": service_cookie_paths,
        }
