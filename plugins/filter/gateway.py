"""What a web server passes to a service of ours, where it passes all else on to AutoBot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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

    Those of WebSockets, and of others than AutoBot: scripts of its pages send a header to it.
    """
    return [route["path"] for route in routes if route.get("websocket") or not route.get("token")]


class FilterModule:
    """Makes the filters known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"own_locations": own_locations, "service_cookie_paths": service_cookie_paths}
