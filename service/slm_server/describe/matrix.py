"""Who may call which route: `python -m slm_server.describe.matrix > docs/permissions.md`."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from slm_server.app import create_app
from user_management.permissions import ALL_PERMISSIONS, SYSTEM_ROLES
from user_management.services import OPERATOR, Authority
from user_management_web.rbac import (
    Access,
    access_of,
    asks_for_recent_authentication,
)

# The columns; whoever is limited to an organization may have any permission.
HOLDERS: Final[Mapping[str, Authority]] = {
    **{name: Authority(frozenset(held)) for name, held in SYSTEM_ROLES.items()},
    "platform administrator": OPERATOR,
    "limited administrator": Authority(ALL_PERMISSIONS, org_id=UUID(int=0)),
}

_INTRODUCTION: Final = """\
# Who may call what

Written by `python -m slm_server.describe.matrix` from the routes themselves, and compared with them
by the tests, which also call each route as each of these. [Authorization](authorization.md)
explains the columns. A limited administrator is one who has all permissions, within one
organization. "recently" is for those who [have just confirmed](security.md#confirm-that-it-is-you)
who they are.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A route, and what it asks of its caller."""

    method: str
    path: str
    access: Access
    is_recent: bool

    def admits(self, holder: str) -> bool:
        """Whether one of HOLDERS may call the route."""
        return self.access.refusal(HOLDERS[holder]) is None

    def __str__(self) -> str:
        asks = f"`{self.access.needed}`" if self.access.permissions else self.access.audience
        if self.access.is_platform_admin:
            asks += " of a platform administrator"
        if self.is_recent:
            asks += ", recently"
        answers = ("yes" if self.admits(holder) else "no" for holder in HOLDERS)
        return "| " + " | ".join([f"`{self.method} {self.path}`", asks, *answers]) + " |"


def contexts(app: FastAPI) -> Iterator[RouteContext]:
    """The routes of the application as they can be reached."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.route, APIRoute):
            yield context


def rows(app: FastAPI) -> list[Row]:
    """A row for each route, by address. Raises LookupError when a route asks nothing."""
    found = []
    for context in contexts(app):
        access = access_of(context.dependant)
        if access is None:
            raise LookupError(f"{context.path} declares nothing: not even that it is public.")
        is_recent = asks_for_recent_authentication(context.dependant)
        found += [
            Row(method, str(context.path), access, is_recent)
            for method in sorted(context.methods or ())
        ]
    return sorted(found, key=lambda row: (row.path, row.method))


def render(app: FastAPI) -> str:
    """The whole document."""
    header = ["route", "asks for", *HOLDERS]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *map(str, rows(app))]
    return _INTRODUCTION + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(create_app()))
