"""What a run would break on hosts that do other things already, and what answers it.

Judged here is what `host_survey` has found on each host against what the inventory says. Nothing
is read and nothing is written: `conflicts` finds what must be decided, `notes` what is good to
know, and `markdown_report`, `document`, `refusal` and `proposal` say it to people, programs, the
terminal and the inventory.

Names of programs, roles and files are a host's word. They are shown without what a terminal,
Markdown, YAML, a template, nftables or pg_hba.conf would take for more than a name.
"""

from __future__ import annotations

from .hosts import Cluster, Conflict, Entry, HbaLine, Host, Note, Port, Rule, Survey
from .judging import conflicts, notes
from .proposing import extended, proposal
from .report import differences, document, markdown_report, refusal

__all__ = [
    "Cluster",
    "Conflict",
    "Entry",
    "HbaLine",
    "Host",
    "Note",
    "Port",
    "Rule",
    "Survey",
    "conflicts",
    "differences",
    "document",
    "extended",
    "markdown_report",
    "notes",
    "proposal",
    "refusal",
]
