"""Who may be here: the one rule of logins, refreshes and callers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from user_management.services.login.account_status import ACCOUNT_STATUS_COLUMNS, refusal_reason

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
# Of somebody in no organization, or in one that is open.
GOOD = {
    "is_active": True,
    "deleted_at": None,
    "org_is_active": None,
    "org_deleted_at": None,
    "must_change_password": None,
    "one_time_expires_at": None,
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"org_is_active": True}, None),
        ({"is_active": False}, "account_inactive"),
        ({"deleted_at": BEFORE}, "account_inactive"),
        ({"org_is_active": False}, "organization_inactive"),
        ({"org_is_active": True, "org_deleted_at": BEFORE}, "organization_inactive"),
        ({"must_change_password": True}, None),
        ({"must_change_password": True, "one_time_expires_at": AFTER}, None),
        ({"must_change_password": True, "one_time_expires_at": NOW}, "one_time_password_expired"),
        ({"must_change_password": False, "one_time_expires_at": BEFORE}, None),
        ({"is_active": False, "org_is_active": False}, "account_inactive"),
    ],
)
def test_what_keeps_somebody_out(changes: dict[str, object], reason: str | None) -> None:
    assert refusal_reason(GOOD | changes, NOW) == reason


def test_the_columns_have_what_the_rule_needs() -> None:
    assert GOOD.keys() <= {column.key for column in ACCOUNT_STATUS_COLUMNS}
