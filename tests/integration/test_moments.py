"""Moments beyond Python's calendar: no service writes one, and what others wrote can be changed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from user_management.models.base import Base, UtcDateTime

ROOT = Path(__file__).parents[2]
# Tables in which no service writes a moment but the server's own.
UNWRITTEN = {
    *("api_keys", "audit_anchors", "audit_seals", "idempotency_records", "permissions"),
    *("known_devices", "rate_limits", "refresh_tokens", "sso_providers", "user_mfa"),
    "user_sso_links",
}
# Written as the server's own time only.
NOW_ONLY = {("auth_sessions", "authenticated_at"), ("imported_rows", "created_at")}
ADA = "INSERT INTO users (username, email{}) VALUES ('ada', 'ada@x'{})"
ORGANIZATION = "00000000-0000-4000-8000-000000000001"
REFUSED = "A moment before 1970"


def migration() -> Any:
    path = ROOT / "migrations/versions/0006_moments.py"
    spec = importlib.util.spec_from_file_location("moments_migration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_column_that_a_service_writes_is_guarded() -> None:
    columns = {
        table.name: {
            each.name
            for each in table.columns
            if isinstance(each.type, UtcDateTime) and (table.name, each.name) not in NOW_ONLY
        }
        for table in Base.metadata.sorted_tables
        if table.name not in UNWRITTEN
    }
    assert {name: set(names) for name, names in migration().MOMENTS.items()} == {
        name: names for name, names in columns.items() if names
    }


@pytest.mark.parametrize(
    "moment",
    ["1969-12-31 23:59:59.999999+00", "10000-01-01 UTC", "infinity", "-infinity", "4714-11-24 BC"],
)
def test_no_service_writes_it(autobot_database: Any, moment: str) -> None:
    for column in migration().MOMENTS["users"]:
        with pytest.raises(AssertionError, match=REFUSED):
            autobot_database.sql(ADA.format(f", {column}", f", '{moment}'"), user="slm_service")
        autobot_database.sql(ADA.format("", "") + " ON CONFLICT DO NOTHING")
        with pytest.raises(AssertionError, match=REFUSED):
            autobot_database.sql(f"UPDATE users SET {column} = '{moment}'", user="slm_service")


def test_moments_at_both_ends_are_written(autobot_database: Any) -> None:
    ends = ("'1970-01-01 UTC'", "'9999-12-30 UTC'")
    autobot_database.sql(
        ADA.format(", created_at, last_login_at", f", {', '.join(ends)}"), user="slm_service"
    )


def test_the_backend_and_tenants_write_none_either(autobot_database: Any) -> None:
    autobot_database.sql(ADA.format("", ""))
    session = (
        "INSERT INTO auth_sessions (id, user_id, expires_at)"
        " SELECT gen_random_uuid(), id, now() FROM users"
    )
    autobot_database.sql(session, user="autobot_backend")
    # The trigger of revision 0004 comes first, and lets this through.
    autobot_database.sql("UPDATE auth_sessions SET created_at = '-infinity'")
    with pytest.raises(AssertionError, match=REFUSED):
        autobot_database.sql(
            session.replace("now()", "now() - interval '100 years'"), user="autobot_backend"
        )
    autobot_database.sql(
        f"INSERT INTO organizations (id, name, slug) VALUES ('{ORGANIZATION}', 'A', 'a');"
        f"UPDATE users SET org_id = '{ORGANIZATION}'"
    )
    with pytest.raises(AssertionError, match=REFUSED):
        autobot_database.sql(
            f"SET ROLE slm_tenant; SET user_management.org_id = '{ORGANIZATION}';"
            " UPDATE users SET last_login_at = '-infinity'",
            user="slm_service",
        )


def test_a_row_of_autobots_can_be_changed_all_the_same(autobot_database: Any) -> None:
    autobot_database.sql(ADA.format(", created_at, last_login_at", ", '0044-03-15 BC', 'infinity'"))
    autobot_database.sql(
        "UPDATE users SET bio = 'x', created_at = created_at, deleted_at = now()",
        user="slm_service",
    )
    assert autobot_database.sql("SELECT bio FROM users") == "x"
