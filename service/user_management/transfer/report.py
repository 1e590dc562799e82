"""What an import tells programs: one JSON object a line, the last one sums up."""

import json
from collections.abc import Mapping
from typing import Any, Final

from user_management.models import AuditResourceType
from user_management.population import Population
from user_management.transfer.importer import Summary
from user_management.transfer.lines import LineCount
from user_management.transfer.reference_data import Outcome
from user_management.transfer.sources import SourceKind

IMPORTED: Final = (
    AuditResourceType.ORGANIZATION,
    AuditResourceType.ROLE,
    AuditResourceType.TEAM,
    AuditResourceType.USER,
)


def outcome_line(outcome: Outcome) -> str:
    """What became of one thing."""
    return line(
        {
            "resource": outcome.resource,
            "place": outcome.place,
            "name": outcome.name,
            "outcome": outcome.verdict,
            "reason": outcome.reason,
            "rows": outcome.rows,
        }
    )


def summary_line(
    population: Population, kind: SourceKind, summary: Summary, *, applied: bool
) -> str:
    """The last line."""
    return line(
        {
            "summary": {
                "population": population,
                "source": kind,
                "applied": applied,
                "lines": summary.lines and _lines(summary.lines),
                "counts": {resource: summary.of(resource) for resource in IMPORTED},
                "over_quota": [
                    {"organization": quota.slug, "max_users": quota.limit, "users": quota.users}
                    for quota in summary.over_quota
                ],
            }
        }
    )


def _lines(lines: LineCount) -> dict[str, int]:
    return {
        "total": lines.total,
        "header": lines.header,
        "empty": lines.empty,
        "rows": lines.rows,
        "lost": lines.lost,
    }


def line(content: Mapping[str, Any]) -> str:
    """One line of a report, in ASCII."""
    return json.dumps(content) + "\n"
