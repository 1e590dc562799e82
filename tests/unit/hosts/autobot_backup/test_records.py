"""What is recorded of the databases, and whether it is believed."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import databases, records
from autobot_backup.backups import Backup
from autobot_backup.errors import BackupError
from tests.support.backup_repositories import NEAR


def test_a_record_is_believed_as_long_as_the_backup_vouches_for_it(state: Path) -> None:
    (state / "records").mkdir()
    path = state / "records" / "B3.json"
    path.write_text('{"databases": {}}')
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    backup = Backup("B3", NEAR, "17-1", 0, 0, "", "", 1, 1)
    vouched = replace(backup, annotations={"record": checksum})
    assert records.read(vouched) == {"databases": {}}
    with pytest.raises(BackupError, match="has changed it"):
        records.read(backup)
    path.unlink()
    with pytest.raises(BackupError, match="is missing"):
        records.read(vouched)


def test_a_digest_has_no_cast_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Session:
        def query(self, sql: str) -> list[list[str]]:
            asked.append(sql)
            return [["1", "2", "3"]]

    monkeypatch.setattr(databases, "tables", lambda _: ["public.users"])
    session: Any = Session()
    assert records.digest(session) == {"public.users": ["1", "2", "3"]}
    assert "::text" not in asked[0]
    assert "textin(record_out(digested.*))" in asked[0]
