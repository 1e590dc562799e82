"""An API whose answers are always the same, for the pictures of the screens."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Route

from tests.e2e.browsing import Desk
from tests.e2e.screens import Cast
from tests.lab.people import Account

NOW = "2026-11-25T10:00:00Z"
PERMISSIONS = ["users:read"]
ORGANIZATION = "11111111-1111-4111-8111-111111111111"
TEAM = "22222222-2222-4222-8222-222222222222"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _role(number: int, name: str, description: str) -> dict[str, Any]:
    return {
        "id": uuid(number),
        "name": name,
        "description": description,
        "is_system": True,
        "org_id": None,
        "priority": 0,
        "permissions": PERMISSIONS,
        "created_at": "2026-01-02T08:00:00Z",
        "updated_at": "2026-01-02T08:00:00Z",
    }


ROLES = [
    _role(901, "admin", "May do everything"),
    _role(902, "user", "Uses chat and tools"),
    _role(903, "readonly", "Sees everything, changes nothing"),
]


def _user(number: int, name: str, display: str, **more: Any) -> dict[str, Any]:
    return {
        "id": uuid(number),
        "username": name,
        "email": f"{name}@autobot.local",
        "display_name": display,
        "bio": None,
        "avatar_url": None,
        "org_id": ORGANIZATION,
        "is_active": True,
        "is_verified": True,
        "mfa_enabled": False,
        "is_platform_admin": False,
        "preferences": {},
        "roles": [ROLES[1]],
        "last_login_at": f"2026-11-{24 - number % 20:02d}T{8 + number % 9:02d}:15:00Z",
        "created_at": f"2026-{11 - number % 10:02d}-{1 + number % 27:02d}T09:30:00Z",
        "updated_at": "2026-11-20T09:30:00Z",
        **more,
    }


USERS = [
    _user(1, "marta", "Marta Lindholm", bio="Harbour master. Knows every ship."),
    _user(2, "jonas", "Jonas Berg"),
    _user(3, "amina", "Amina Yusuf", roles=[ROLES[1], ROLES[2]]),
    _user(4, "pjotr", "Pjotr Novák", is_active=False, last_login_at=None),
    _user(5, "chloe", "Chloé Moreau"),
    _user(6, "olga", "Ольга Маркова", last_login_at=None),
    _user(7, "tomas", "Tomas Eriksson"),
    _user(8, "eleni", "Ελένη Παππά"),
]
ADMINISTRATORS = [
    _user(101, "captain", "Ada Kapteyn", is_platform_admin=True, roles=[], org_id=None),
    _user(102, "deputy", "Ravi Menon", roles=[ROLES[0]], org_id=None),
    _user(103, "auditor", "Irma Falk", roles=[ROLES[2]], org_id=None),
    _user(104, "harbour_lead", "Olu Adeyemi", roles=[ROLES[0]], last_login_at=None),
]
TEAMS = [
    {
        "id": TEAM if number == 0 else uuid(200 + number),
        "org_id": ORGANIZATION,
        "organization_id": ORGANIZATION,
        "name": name,
        "description": description,
        "settings": {},
        "is_default": number == 0,
        "member_count": members,
        "created_at": f"2026-0{3 + number}-11T09:30:00Z",
        "updated_at": "2026-11-20T09:30:00Z",
    }
    for number, (name, description, members) in enumerate(
        [
            ("Harbour", "Those at the quay", 5),
            ("Night watch", "From dusk till dawn", 3),
            ("Workshop", "What breaks is mended here", 4),
        ]
    )
]
ORGANIZATIONS: list[dict[str, Any]] = [
    {
        "id": ORGANIZATION if number == 0 else uuid(300 + number),
        "name": name,
        "slug": name.lower().replace(" ", "-"),
        "description": None,
        "settings": {},
        "subscription_tier": tier,
        "max_users": most,
        "is_active": number != 2,
        "created_at": f"2026-0{2 + number}-04T09:30:00Z",
        "updated_at": "2026-11-20T09:30:00Z",
    }
    for number, (name, tier, most) in enumerate(
        [("Acme Works", "enterprise", 500), ("North Quay", "pro", 50), ("Old Mill", "free", -1)]
    )
]
SESSIONS = [
    {
        "id": uuid(400 + number),
        "created_at": f"2026-11-2{5 - number}T08:0{number}:00Z",
        "refreshed_at": f"2026-11-25T09:3{number}:00Z",
        "expires_at": "2026-11-25T21:00:00Z",
        "ip_address": f"172.16.168.{40 + number}",
        "user_agent": program,
        "is_current": False,
    }
    for number, program in enumerate(["Firefox 145 on Linux", "AutoBot 2.1 on Windows"])
]
EVENTS = [
    {
        "id": uuid(500 + number),
        "created_at": f"2026-11-25T0{9 - number}:1{number}:00Z",
        "action": action,
        "outcome": "failure" if "failed" in action else "success",
        "actor": {"population": "slm", "user_id": uuid(101), "username": "captain"},
        "resource_type": kind,
        "resource_id": uuid(1),
        "org_id": ORGANIZATION,
        "ip_address": "172.16.168.40",
        "user_agent": "Firefox 145 on Linux",
        "details": {"changes": {"display_name": {"old": "Marta", "new": "Marta Lindholm"}}},
        "seq": 1042 - number,
    }
    for number, (action, kind) in enumerate(
        [
            ("user_updated", "user"),
            ("role_assigned", "user"),
            ("team_member_added", "team"),
            ("login_failed", "user"),
            ("login_success", "user"),
            ("user_created", "user"),
        ]
    )
]
IMPORTED = [
    {
        "resource": "user",
        "place": f"line {number + 2}",
        "name": name,
        "outcome": outcome,
        "reason": reason,
        "rows": 1,
    }
    for number, (name, outcome, reason) in enumerate(
        [
            ("marta", "unchanged", None),
            ("lena", "created", None),
            ("ole", "created", None),
            ("jonas", "merged", "the roles are added"),
            ("a b", "invalid", "username: letters, digits and underscores only"),
        ]
    )
]
REPORT = {
    "summary": {
        "population": "autobot",
        "source": "csv",
        "applied": False,
        "lines": {"total": 6, "header": 1, "empty": 0, "rows": 5, "lost": 0},
        "counts": {"user": {"created": 2, "merged": 1, "unchanged": 1, "skipped": 0, "invalid": 1}},
        "over_quota": [],
    }
}
ME: dict[str, Any] = {
    "id": uuid(101),
    "username": "captain",
    "email": "captain@autobot.local",
    "is_admin": True,
    "permissions": [],
    "org_id": None,
    "user_type": "slm_admin",
    "must_change_password": False,
    "last_login_at": "2026-11-24T08:00:00Z",
}

READER = Account("slm", ME["id"], "captain", ME["email"], "a password")
CAST = Cast(
    Account("autobot", uuid(1), "marta", "marta@autobot.local", ""),
    TEAM,
    "Harbour",
    ORGANIZATION,
    "Acme Works",
)


def _page(name: str, items: list[Any]) -> dict[str, Any]:
    return {name: items, "total": len(items), "next_cursor": None, "limit": 50, "offset": 0}


def _members() -> list[dict[str, Any]]:
    return [
        {
            **{key: user[key] for key in ("username", "email", "display_name")},
            "user_id": user["id"],
            "role": ("owner", "admin", "member")[min(number, 2)],
            "joined_at": f"2026-0{4 + number}-01T09:30:00Z",
        }
        for number, user in enumerate(USERS[:4])
    ]


class Scenery:
    """Answers instead of the API. Who changes a user finds that somebody else has done so."""

    def __init__(self, desk: Desk) -> None:
        self.is_changed = False
        desk.context.route(f"{desk.watch.origin}/api/**", self._answer)

    def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if route.request.method == "PATCH":
            self.is_changed = True
            problem = {
                "type": "about:blank",
                "title": "Somebody else has changed it",
                "status": 412,
                "code": "precondition_failed",
                "detail": "Somebody else has changed it since you read it.",
            }
            route.fulfill(status=412, json=problem)
        elif url.path.endswith("/import"):
            lines = [*IMPORTED, REPORT]
            route.fulfill(
                content_type="application/x-ndjson",
                body="".join(json.dumps(line) + "\n" for line in lines),
            )
        else:
            headers = {"ETag": '"2"' if self.is_changed else '"1"'}
            route.fulfill(json=self._found(url.path, parse_qs(url.query)), headers=headers)

    def _found(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        match path.removeprefix("/api/").split("/"):
            case ["slm-auth", "me"]:
                return ME
            case ["slm-auth", "browser", "login"]:
                return {
                    "session_id": uuid(400),
                    "must_change_password": False,
                    "expires_in": 1800,
                    "refresh_expires_in": 3600,
                }
            case [("slm-users" | "autobot-users") as kind]:
                people = ADMINISTRATORS if kind == "slm-users" else USERS
                wanted = query.get("search", [""])[0]
                return _page("users", [user for user in people if wanted in user["username"]])
            case ["autobot-users", _]:
                changes = {"display_name": "Marta L.", "email": "ml@autobot.local"}
                return {**USERS[0], **(changes if self.is_changed else {})}
            case [_, _, "sessions"] | ["slm-auth", "sessions"]:
                return {"sessions": SESSIONS}
            case ["autobot-users", _, "teams"]:
                return _page(
                    "teams",
                    [{**TEAMS[0], "role": "owner", "joined_at": "2026-04-01T09:30:00Z"}],
                )
            case [_, _, "lock"]:
                return {"locked_until": None, "failures": 0}
            case ["slm-roles" | "autobot-roles"] | [_, _, "roles"]:
                return _page("roles", ROLES)
            case ["autobot-teams"]:
                return _page("teams", TEAMS)
            case ["autobot-teams", _]:
                return TEAMS[0]
            case ["autobot-teams", _, "members"]:
                return _page("members", _members())
            case ["organizations"]:
                return _page("organizations", ORGANIZATIONS)
            case ["organizations", organization]:
                return next(each for each in ORGANIZATIONS if each["id"] == organization)
            case ["audit-logs"]:
                return {"logs": EVENTS, "next_cursor": None, "limit": 50}
            case _:
                raise AssertionError(f"no scenery for {path}")
