"""People, teams and organizations for one test, made through the API and removed after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

from tests.lab.site import Site, unique

Population = Literal["slm", "autobot"]
PASSWORD = "violet-anchor-77-meadow"


@dataclass(frozen=True)
class Account:
    """Somebody who can log in."""

    population: Population
    id: str
    username: str
    email: str
    password: str

    @property
    def path(self) -> str:
        """Where the API has this user."""
        return f"/api/{self.population}-users/{self.id}"


class People:
    """Makes what a test needs, as an administrator of the platform."""

    def __init__(self, site: Site, api: httpx2.Client) -> None:
        self.site = site
        self.api = api
        self._made: list[str] = []

    def create(
        self, population: Population, prefix: str = "person", role: str | None = None, **more: Any
    ) -> Account:
        """A user with a password of their own, or what `more` says."""
        username = more.pop("username", None) or unique(prefix)
        body = {
            "username": username,
            "email": f"{username}@example.com",
            "password": PASSWORD,
            **more,
        }
        if role is not None:
            body["role_ids"] = [self.role(population, role)]
        created = self.answer("POST", f"/api/{population}-users", body)
        account = Account(population, created["id"], username, created["email"], body["password"])
        self._made.append(account.path)
        return account

    def administrator(self) -> Account:
        """Who may do everything."""
        return self.create("slm", "administrator", is_admin=True)

    def reader(self) -> Account:
        """Who sees and changes nothing."""
        return self.create("slm", "reader", "readonly")

    def nobody(self) -> Account:
        """Who has no role."""
        return self.create("slm", "nobody")

    def limited(self, organization: str) -> Account:
        """Who may do everything within one organization."""
        return self.create("slm", "limited", "admin", org_id=organization)

    def role(self, population: Population, name: str) -> str:
        """The id of a role."""
        roles = self.answer("GET", f"/api/{population}-roles")["roles"]
        found: str = next(role["id"] for role in roles if role["name"] == name)
        return found

    def own_role(self, population: Population, **more: Any) -> dict[str, Any]:
        """A role that is not the system's."""
        role = self.answer("POST", f"/api/{population}-roles", {"permissions": [], **more})
        self._made.append(f"/api/{population}-roles/{role['id']}")
        found: dict[str, Any] = role
        return found

    def organization(self, **more: Any) -> dict[str, Any]:
        """An organization of application users."""
        body = {"name": unique("organization"), **more}
        created = self.answer("POST", "/api/organizations", body)
        self._made.append(f"/api/organizations/{created['id']}")
        found: dict[str, Any] = created
        return found

    def team(self, **more: Any) -> dict[str, Any]:
        """A team of application users, of the default organization unless told otherwise."""
        created = self.answer("POST", "/api/autobot-teams", {"name": unique("team"), **more})
        self._made.append(f"/api/autobot-teams/{created['id']}")
        found: dict[str, Any] = created
        return found

    def update(self, account: Account, **changes: Any) -> None:
        """Change a user as somebody else would."""
        self.answer("PATCH", account.path, changes)

    def find(self, population: Population, username: str) -> dict[str, Any] | None:
        """A user as the API shows it, or None."""
        found = self.answer("GET", f"/api/{population}-users?search={username}&limit=100")["users"]
        return next((user for user in found if user["username"] == username), None)

    def removes(self, population: Population, username: str) -> None:
        """Remove a user at the end whom the test itself makes."""
        self._made.append(f"{population} {username}")

    def removes_path(self, path: str) -> None:
        """Remove at the end what the API has at a path."""
        self._made.append(path)

    def answer(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers to something that has to work."""
        answer = self.api.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def remove(self) -> None:
        """Remove all again, the last first, but teams before those who own them."""
        newest_first = self._made[::-1]
        newest_first.sort(key=lambda made: "-teams/" not in made)
        for made in newest_first:
            path = made
            if by_name := re.fullmatch(r"(slm|autobot) (\w+)", made):
                population: Population = "slm" if by_name[1] == "slm" else "autobot"
                found = self.find(population, by_name[2])
                if found is None:
                    continue
                path = f"/api/{population}-users/{found['id']}"
            gone = self.api.delete(path)
            assert gone.status_code in {204, 404}, f"{path}: {gone.text}"

    def log_in(self, account: Account, password: str | None = None) -> httpx2.Response:
        """What the login of the account's own service answers."""
        is_slm = account.population == "slm"
        with self.site.client() if is_slm else self.site.backend_client() as client:
            return client.post(
                "/api/slm-auth/login" if is_slm else "/api/auth/login",
                json={"username": account.username, "password": password or account.password},
            )

    def lock(self, account: Account) -> None:
        """Fail to log in until even the right password is refused."""
        for _ in range(5):
            assert self.log_in(account, "wrong-wrong-wrong").status_code == 401
        assert self.log_in(account).status_code == 429
