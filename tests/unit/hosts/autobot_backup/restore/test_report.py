"""What an operator reads of a restore."""

from typing import Any

import pytest

from autobot_backup.restore.report import plan_report, restore_report

PLAN: dict[str, Any] = {
    "host": "slm",
    "target": "now",
    "databases": ["slm_users", "users"],
    "database": "",
    "beside": False,
    "repository": "redis:/repo (192.0.2.2)",
    "backup": "20260131-120000F",
    "backup_complete": "2026-01-31T12:00:00Z",
    "timeline": 2,
    "archive_end": "2026-01-31T12:30:00Z",
    "restored": "/var/lib/postgresql/17/main",
    "kept": "/var/lib/postgresql/17/main.before-x",
    "lost": "what is not in the repository",
    "needed_bytes": 268_999_999,
    "free_bytes": 5_000_000_000,
}
RESULT: dict[str, Any] = {
    **PLAN,
    "seconds": 12.0,
    "timeline": 3,
    "last_transaction": "2026-01-31 12:29:00+00",
    "databases": {
        "slm_users": {"tables": 5, "rows": 74, "revision": "0012"},
        "users": {"tables": 0, "rows": 0, "revision": ""},
    },
}


def test_a_plan_says_what_comes_where_from_and_what_is_lost() -> None:
    assert plan_report(PLAN) == [
        "host: slm",
        "the whole cluster: slm_users, users",
        "restored to: now, as /var/lib/postgresql/17/main",
        "from: redis:/repo (192.0.2.2)",
        "backup: 20260131-120000F, complete at 2026-01-31T12:00:00Z, then WAL on timeline 2"
        " (the repository has it until 2026-01-31T12:30:00Z)",
        "room: 268 MB needed, 5000 MB free",
        "kept: /var/lib/postgresql/17/main.before-x",
        "lost: what is not in the repository",
    ]


def test_a_report_says_what_is_there_now() -> None:
    assert restore_report(RESULT) == [
        "slm was restored to now in 12.0 s",
        "slm_users: 74 rows in 5 tables, schema 0012",
        "users: 0 rows in 0 tables, schema unknown",
        "last transaction: 2026-01-31 12:29:00+00",
        "from: redis:/repo (192.0.2.2), backup 20260131-120000F",
        "timeline: 3",
        "kept: /var/lib/postgresql/17/main.before-x",
    ]


@pytest.mark.parametrize(("beside", "line"), [(True, "stays as it is: users"), (False, "kept: x")])
def test_one_database_may_be_left_beside_the_live_one(*, beside: bool, line: str) -> None:
    kept = "users" if beside else "x"
    plan = {**PLAN, "database": "users", "databases": ["users"], "beside": beside, "kept": kept}
    lines = plan_report(plan)
    assert lines[1] == "database: users"
    assert lines[-2] == line


def test_without_a_transaction_after_it_the_backup_has_the_last() -> None:
    lines = restore_report({**RESULT, "last_transaction": "", "beside": True, "kept": "users"})
    assert "last transaction: that of the backup" in lines
    assert lines[-1] == "untouched: users"
