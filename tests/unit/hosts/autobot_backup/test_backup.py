"""Tables that came after the newest backup are in the next one."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import backup, databases, paths, pgbackrest, psql
from autobot_backup.configuration import Configuration


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        ({}, ["public.roles of people", "public.users of people"]),
        ({"people": {"public.users": ["1", "2", "3"]}}, ["public.roles of people"]),
        ({"people": {"public.users": ["0"] * 3, "public.roles": ["0"] * 3}}, []),
    ],
)
def test_tables_that_no_backup_has_are_found(
    host: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    record: dict[str, Any],
    missing: list[str],
) -> None:
    monkeypatch.setattr(paths, "RECORDS", tmp_path)
    monkeypatch.setattr(pgbackrest, "backups", lambda *_: [{"label": "first"}, {"label": "last"}])
    monkeypatch.setattr(databases, "names", lambda: ["people"])
    monkeypatch.setattr(psql, "Session", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(databases, "tables", lambda _: ["public.roles", "public.users"])
    (tmp_path / "last.json").write_text(json.dumps({"databases": record}))
    assert backup.unrecorded_tables(host) == missing
