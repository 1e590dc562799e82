"""Repositories get what they lack, and those of another cluster are left alone."""

from contextlib import nullcontext
from typing import Any

import pytest

from autobot_backup import backup, databases, pgbackrest, prepare
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError

MINE, OTHER = 1, 2


def of_cluster(identifier: int) -> dict[str, Any]:
    """What pgBackRest says of a repository with one backup of a cluster."""
    backup = {"database": {"id": 1, "repo-key": 1}, "timestamp": {"stop": 0}}
    return {"db": [{"id": 1, "system-id": identifier}], "backup": [backup], "repo": []}


@pytest.mark.parametrize(
    ("state", "options", "done"),
    [
        ({"db": [], "backup": [], "repo": []}, {}, ["stanza-create", "full"]),
        (of_cluster(MINE), {}, []),
        (of_cluster(OTHER), {"new_cluster": True}, ["stanza-upgrade", "full"]),
        ({**of_cluster(MINE), "backup": []}, {}, ["full"]),
        ({"db": [], "backup": [], "repo": []}, {"check": True}, []),
    ],
    ids=["nothing yet", "all there", "a new cluster on purpose", "no backup yet", "only asked"],
)
def test_repositories_get_what_they_lack(
    host: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Any],
    options: dict[str, bool],
    done: list[str],
) -> None:
    did = list[str]()
    monkeypatch.setattr(pgbackrest, "info", lambda *_: state)
    monkeypatch.setattr(databases, "system_identifier", lambda: MINE)
    monkeypatch.setattr(pgbackrest, "run", lambda _, command: did.append(command))
    monkeypatch.setattr(backup, "take", lambda _, kind: did.append(kind))
    said = prepare.prepare(host, **{"check": False, "new_cluster": False, **options})
    assert did == done
    assert len(said) == (2 if options.get("check") else len(done))


@pytest.mark.parametrize(
    ("answers", "patience", "tried"),
    [
        ([50, 50, None], 1000, 3),
        ([50, 50, None], -1, 1),
        ([103, None], 1000, 1),
    ],
    ids=["the archiver has the lock", "it never gives it back", "another fault"],
)
def test_a_stanza_is_created_when_the_archiver_has_done_its_turn(
    host: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[int | None],
    patience: int,
    tried: int,
) -> None:
    """While a repository has no stanza, the archiver tries again each second."""
    did = list[str]()
    monkeypatch.setattr(prepare, "ARCHIVER_PATIENCE", patience)
    monkeypatch.setattr(prepare, "ARCHIVER_PAUSE", 0)

    def run(_: Any, command: str) -> None:
        did.append(command)
        if code := answers[len(did) - 1]:
            raise pgbackrest.PgBackRestError("unable to acquire lock", code)

    monkeypatch.setattr(pgbackrest, "run", run)
    failure = nullcontext() if tried == 3 else pytest.raises(pgbackrest.PgBackRestError)
    with failure:
        prepare.retry_while_locked(host, "stanza-create")
    assert did == ["stanza-create"] * tried


def test_the_backups_of_another_cluster_are_refused(
    host: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgbackrest, "info", lambda *_: of_cluster(OTHER))
    monkeypatch.setattr(databases, "system_identifier", lambda: MINE)
    with pytest.raises(BackupError) as raised:
        prepare.prepare(host, check=False, new_cluster=False)
    for word in ("other:/repo", "restore_host=host", "backup_new_cluster=host"):
        assert word in str(raised.value)
