"""What an operator reads of a restore, before it and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plan_report(plan: Mapping[str, Any]) -> list[str]:
    """What a restore would do, line by line."""
    what = "database" if plan["database"] else "the whole cluster"
    needed, free = (int(plan[name] / 1_000_000) for name in ("needed_bytes", "free_bytes"))
    return [
        f"host: {plan['host']}",
        f"{what}: {', '.join(plan['databases'])}",
        f"restored to: {plan['target']}, as {plan['restored']}",
        f"from: {plan['repository']}",
        f"backup: {plan['backup']}, complete at {plan['backup_complete']}, then WAL on timeline "
        f"{plan['timeline']} (the repository has it until {plan['archive_end']})",
        f"room: {needed} MB needed, {free} MB free",
        f"{'stays as it is' if plan['beside'] else 'kept'}: {plan['kept']}",
        f"lost: {plan['lost']}",
    ]


def restore_report(result: Mapping[str, Any]) -> list[str]:
    """What was restored, line by line."""
    databases = [
        f"{name}: {found['rows']} rows in {found['tables']} tables, schema "
        f"{found['revision'] or 'unknown'}"
        for name, found in result["databases"].items()
    ]
    return [
        f"{result['host']} was restored to {result['target']} in {result['seconds']} s",
        *databases,
        f"last transaction: {result['last_transaction'] or 'that of the backup'}",
        f"from: {result['repository']}, backup {result['backup']}",
        f"timeline: {result['timeline']}",
        f"{'untouched' if result['beside'] else 'kept'}: {result['kept']}",
    ]
