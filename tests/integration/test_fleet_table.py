"""The fleet manager's table on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.autobot.users.plugins.module_utils.adoption import fleet_table
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import Server
from tests.support.database_server import PostgresServer, ProvisionedDatabase
from tests.support.role_files import load_plugin

# As AutoBot's models make it: what they fill in Python has no default.
TABLE = """
CREATE TABLE users (id serial PRIMARY KEY, username varchar(64) UNIQUE NOT NULL,
    password_hash varchar(255) NOT NULL, is_active boolean, is_admin boolean,
    created_at timestamp, last_login timestamp);
"""
ROWS = "SELECT username, password_hash, is_active, is_admin FROM users ORDER BY lower(username)"
OLD, NEW = "$2b$12$old", "$2b$12$new"


class Fleet:
    """The fleet manager's database, and ours beside it."""

    def __init__(self, ours: ProvisionedDatabase) -> None:
        self.ours, self.server = ours, ours.server
        self.here = Server("postgres", str(self.server.bin), host=str(self.server.directory))

    def sql(self, statements: str) -> str:
        return self.server.sql(statements, database="slm")

    def had(self, *names: str) -> None:
        """Rows of administrators that were there before."""
        for name in names:
            self.sql(
                "INSERT INTO users (username, password_hash, is_active, is_admin, created_at)"
                f" VALUES ('{name}', '{OLD}', true, true, now())"
            )

    def person(self, name: str, came_as: str = "", **values: str) -> None:
        """Somebody of ours, and as whom the import has found them."""
        given = {"password_hash": f"'{NEW}'", "is_platform_admin": "true"} | values
        self.ours.sql(
            f"INSERT INTO users (email, username, {', '.join(given)})"
            f" VALUES (gen_random_uuid() || '@x.org', '{name}', {', '.join(given.values())})"
        )
        if came_as:
            self.noted(came_as, f"(SELECT id FROM users WHERE username = '{name}')")

    def noted(self, came_as: str, user_id: str) -> None:
        self.ours.sql(
            "INSERT INTO imported_rows (source, key, user_id) VALUES ('slm-table',"
            f" sha256(convert_to('{came_as}', 'UTF8')), {user_id})"
        )

    def give_back(self) -> fleet_table.Return:
        return fleet_table.give_back_table(self.here, self.ours.name, self.here, "slm")

    def rows(self) -> list[str]:
        return self.sql(ROWS).splitlines()


DELETED = {"deleted_at": "now()", "is_active": "false"}


@pytest.fixture
def fleet(slm_database: ProvisionedDatabase) -> Iterator[Fleet]:
    server: PostgresServer = slm_database.server
    server.sql("CREATE DATABASE slm")
    server.sql(TABLE, database="slm")
    yield Fleet(slm_database)
    server.drop_database("slm")


def test_rows_get_what_their_people_have_with_us(fleet: Fleet) -> None:
    fleet.had("Ada", "gone", "long", "theirs", "off")
    fleet.person("ada", "Ada")
    fleet.person("gone", "gone", **DELETED)
    fleet.person("long", "long", password_hash="'bcrypt-sha384$x'", is_platform_admin="false")
    fleet.person("off", is_active="false")
    fleet.person("new")
    found = fleet.give_back()
    assert found.unreadable == ["long"]
    assert found.kept_names == []
    assert fleet.rows() == [
        f"Ada|{NEW}|t|t",
        f"gone|{OLD}|f|t",
        f"long|{OLD}|t|f",
        f"new|{NEW}|t|t",
        f"off|{NEW}|f|t",
        f"theirs|{OLD}|t|t",
    ]
    # AutoBot's answer has no place for a missing time.
    assert fleet.sql("SELECT count(*) FROM users WHERE created_at IS NULL") == "0"


def test_who_was_deleted_and_made_again_is_the_living_one(fleet: Fleet) -> None:
    fleet.had("carol")
    fleet.person("carol", "carol", **DELETED, password_hash="'$2b$12$first'")
    fleet.person("carol")
    fleet.give_back()
    assert fleet.rows() == [f"carol|{NEW}|t|t"]


def test_who_was_erased_is_disabled(fleet: Fleet) -> None:
    fleet.had("mallory", "trudy")
    fleet.person("deleted-1", "mallory", **DELETED, password_hash="NULL")
    fleet.noted("trudy", "NULL")
    fleet.give_back()
    assert fleet.rows() == [f"mallory|{OLD}|f|t", f"trudy|{OLD}|f|t"]


def test_who_was_renamed_is_one_person_still(fleet: Fleet) -> None:
    fleet.had("bob", "one", "two", "Straße")
    fleet.person("robert", "bob", is_active="false")
    fleet.person("two", "one")
    fleet.person("one", "two", is_active="false")
    fleet.person("strasse", "Straße")
    fleet.person("bob")
    assert fleet.give_back().kept_names == []
    assert fleet.rows() == [
        f"bob|{NEW}|t|t",
        f"one|{NEW}|f|t",
        f"robert|{NEW}|f|t",
        f"Straße|{NEW}|t|t",
        f"two|{NEW}|t|t",
    ]


def test_a_name_that_is_not_free_is_said(fleet: Fleet) -> None:
    fleet.had("bob", "eve")
    fleet.person("gone", "eve", **DELETED)
    fleet.person("eve", "bob")
    assert fleet.give_back().kept_names == ["bob (eve here)"]
    assert fleet.rows() == [f"bob|{NEW}|t|t", f"eve|{OLD}|f|t"]


def test_names_are_compared_whatever_their_case(fleet: Fleet) -> None:
    """A database that was adopted where it is has them as AutoBot wrote them."""
    fleet.had("Dan", "EVE")
    fleet.person("Dan", is_active="false")
    fleet.person("Eve")
    fleet.give_back()
    assert fleet.rows() == [f"Dan|{NEW}|f|t", f"EVE|{NEW}|t|t"]


def test_only_who_passes_the_gateway_is_added(fleet: Fleet) -> None:
    role = "INSERT INTO {} SELECT id, {} FROM {} WHERE name = '{}' AND {}"
    for name in ("plain", "holder", "limited"):
        org = {} if name != "limited" else {"org_id": "gen_random_uuid()"}
        fleet.person(name, is_platform_admin="false", **org)
    fleet.ours.sql(
        "INSERT INTO roles (name) VALUES ('gate');"
        + role.format(
            "role_permissions (permission_id, role_id)",
            "(SELECT id FROM roles WHERE name = 'gate')",
            "permissions",
            "admin:access",
            "true",
        )
        + ";INSERT INTO user_roles (user_id, role_id) SELECT users.id, roles.id FROM users, roles"
        " WHERE username IN ('holder', 'limited') AND name = 'gate'"
    )
    fleet.give_back()
    assert fleet.rows() == [f"holder|{NEW}|t|f"]


def test_a_one_time_password_lasts_no_longer_there(fleet: Fleet) -> None:
    fleet.had("reset")
    fleet.person("reset", "reset")
    fleet.person("otp")
    fleet.ours.sql(
        "INSERT INTO user_credentials (user_id, must_change_password) SELECT id, true FROM users"
    )
    assert fleet.give_back().unreadable == ["otp", "reset"]
    name, hashed, *_ = fleet.rows()[0].split("|")
    assert name == "reset"
    assert len(fleet.rows()) == 1
    assert hashed not in (OLD, NEW)
    assert hashed.startswith("$2b$12$")
    assert len(hashed) == 60


@pytest.fixture
def module() -> Any:
    return load_plugin("modules.fleet_table")


def test_what_was_given_back_is_not_given_back_again(
    fleet: Fleet, module: Any, tmp_path: Path
) -> None:
    fleet.had("ada")
    fleet.person("ada", "ada")
    fleet.person("gus")
    note = tmp_path / "given_back"

    def give_back(ours: str = fleet.ours.name) -> dict[str, Any]:
        found: dict[str, Any] = module.give_back(fleet.here, "slm", fleet.here, ours, note)
        return found

    assert give_back()["changed"]
    fleet.sql("UPDATE users SET password_hash = 'since' WHERE username = 'ada'")
    fleet.sql("DELETE FROM users WHERE username = 'gus'")
    again = give_back()
    assert not again["changed"]
    assert again["reason"].startswith("It was given back on 2")
    assert fleet.rows() == ["ada|since|t|t"]
    # By then the database of ours may have another name.
    assert give_back("slm_users_undone")["reason"].startswith("It was given back on 2")


def test_a_database_that_is_gone_is_said(fleet: Fleet, module: Any, tmp_path: Path) -> None:
    found = module.give_back(fleet.here, "slm", fleet.here, "nowhere", tmp_path / "note")
    assert found["reason"] == "There is no database nowhere any more."
    assert not (tmp_path / "note").exists()
