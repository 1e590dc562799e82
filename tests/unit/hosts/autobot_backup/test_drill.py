"""What the drill compares, and what it says of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import databases, drill, live_cluster
from autobot_backup.catalogue import Catalogue
from autobot_backup.configuration import Configuration
from tests.support.backup_repositories import CONFIGURATION, NEAR, NOON, Repositories

RECORDED = {"users": {"public.users": ["2", "10", "20"], "public.roles": ["1", "5", "6"]}}


class TestComparison:
    def test_the_same_rows_are_no_difference(self) -> None:
        assert drill.compare(RECORDED, json.loads(json.dumps(RECORDED))) == ""

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            ({}, ("database users", "restored cluster")),
            ({**RECORDED, "more": {}}, ("database more", "record")),
            ({"users": {"public.users": ["2", "10", "20"]}}, ("public.roles", "restored database")),
            (
                {"users": {**RECORDED["users"], "public.more": ["0", "0", "0"]}},
                ("public.more", "record"),
            ),
            (
                {"users": {**RECORDED["users"], "public.users": ["1", "10", "20"]}},
                ("public.users", "has 1 rows", "recorded were 2"),
            ),
            (
                {"users": {**RECORDED["users"], "public.users": ["2", "10", "21"]}},
                ("public.users", "differ"),
            ),
        ],
    )
    def test_each_difference_is_named(self, found: Any, words: tuple[str, ...]) -> None:
        difference = drill.compare(RECORDED, found)
        for word in words:
            assert word in difference

    @pytest.mark.parametrize(
        "recorded", [{}, {"users": {}}, {"users": {"public.users": ["0"] * 3}}]
    )
    def test_nothing_is_no_comparison(self, recorded: Any) -> None:
        assert "Nothing is recorded" in drill.compare(recorded, recorded)

    @pytest.mark.parametrize(
        ("restored", "live", "tables", "fault"),
        [
            (["0005"], ["0005"], {"public.users", "public.roles", "public.more"}, ""),
            ([], ["0005"], set(), "older than the first one"),
            ([], [], set(), "no schema of a release"),
            (["0005"], ["0006"], {"public.users", "public.roles"}, "revision 0005, and the live"),
            (["0005"], [], {"public.users", "public.roles"}, "of none"),
            (["0005"], ["0005"], {"public.users"}, "1 of the 2 tables"),
            (["0005"], ["0005"], {"public.users"}, "missing: public.roles"),
            # Gone back to, or deployed alone: what it has is not known here.
            (["0004"], ["0004"], {"public.users"}, ""),
        ],
    )
    def test_less_than_the_schema_of_the_release_is_a_fault(
        self, restored: list[str], live: list[str], tables: set[str], fault: str
    ) -> None:
        found = drill.incomplete_schema(restored, live, tables, CONFIGURATION.schemas[0])
        assert fault in found
        assert bool(fault) is bool(found)

    @pytest.mark.parametrize("revisions", [[], ["0005"], ["0666"]])
    def test_a_schema_has_one_revision_or_none(self, revisions: list[str]) -> None:
        assert drill.several_revisions(revisions) == ""
        assert "several revisions" in drill.several_revisions([*revisions, "0007", "0008"])

    def test_a_row_from_after_the_moment_is_a_fault(self) -> None:
        newest = {"public.users.created_at": NOON + 5.0, "public.roles.created_at": NOON - 50.0}
        assert drill.newer_row(newest, NOON) == ""
        assert "public.users.created_at" in drill.newer_row(newest, NOON - 100)


@pytest.mark.usefixtures("state", "repositories")
class TestDrill:
    def test_a_failure_is_written_and_the_last_success_stays(
        self, state: Path, repositories: Repositories
    ) -> None:
        (state / "drill.json").write_text('{"verified": 123.0}')
        repositories.away = {NEAR}
        result = drill.Drill(CONFIGURATION).run()
        assert json.loads((state / "drill.json").read_text()) == result
        assert result["ok"] is False
        assert "peer:/near does not answer" in result["failure"]
        assert result["verified"] == 123.0

    @pytest.mark.parametrize(
        ("last", "verified"),
        [
            ({"ok": True, "rows": 74, "verified": 123.0}, 123.0),
            ({"ok": False, "rows": 0, "verified": 123.0}, 123.0),
            ({"ok": True, "rows": 0, "verified": 123.0}, None),
        ],
    )
    def test_a_drill_that_compared_nothing_verified_nothing(
        self, state: Path, last: dict[str, Any], verified: float | None
    ) -> None:
        (state / "drill.json").write_text(json.dumps(last))
        assert drill.Drill(CONFIGURATION).run()["verified"] == verified

    def test_on_one_machine_both_databases_must_be_there(
        self, state: Path, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No moment counts before both have a schema, and the tables of both must be there."""
        schemas = tuple({**CONFIGURATION.schemas[0], "database": it} for it in ("fleet", "users"))
        run = drill.Drill(replace(CONFIGURATION, schemas=schemas))
        table = "public.user_management_version"
        (state / "records").mkdir()
        labels = [str(each["label"]) for each in repositories.backups]
        held: list[dict[str, Any]] = [
            {},
            {"fleet": {table: 1}},
            {"fleet": {table: 1}, "users": {table: 1}},
        ]
        for number, (label, content) in enumerate(zip(labels, held, strict=True)):
            record = {"time": number, "databases": content}
            (state / "records" / f"{label}.json").write_text(json.dumps(record))
        catalogue = Catalogue(run.configuration)
        assert run._schemas_since(catalogue) == 2
        monkeypatch.setattr(databases, "revisions", lambda *_: ["0005"])
        tables = {"fleet": ["public.roles", "public.users"], "users": ["public.roles"]}
        assert run._schema_fault(schemas[0], tables) == ""
        assert "missing: public.users" in run._schema_fault(schemas[1], tables)
        assert run._schema_fault({"database": "none"}, tables) == "The database none is missing."

    def test_a_backup_without_a_record_is_a_failure(self) -> None:
        result = drill.Drill(CONFIGURATION).run()
        assert result["backup"] == "B3"
        assert "has no record" in result["failure"]
        assert result["verified"] is None

    def test_a_backup_of_damaged_data_is_a_failure(self, repositories: Repositories) -> None:
        repositories.backups[2]["error"] = True
        assert "damaged" in drill.Drill(CONFIGURATION).run()["failure"]

    def test_a_drill_that_is_ended_says_so(
        self, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def end(_: Configuration) -> None:
            raise SystemExit(143)

        monkeypatch.setattr(live_cluster, "archive_wal", end)
        with pytest.raises(SystemExit):
            drill.Drill(CONFIGURATION).run()
        assert "ended before it was done" in (state / "drill.json").read_text()
