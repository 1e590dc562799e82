"""What owners may have made in their databases is not called by a superuser."""

from pathlib import Path

import pytest

from autobot_backup import psql


def test_names_and_texts_are_quoted() -> None:
    assert psql.quote_ident('a"b') == '"a""b"'
    assert psql.quote_literal("a'b") == "'a''b'"


def test_sessions_are_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "psql"
    program.write_text('#!/bin/sh\necho "$PGOPTIONS"; echo "$END"; exec cat >/dev/null\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("END", psql.Session.END)
    ((options,),) = psql.query("users", "SELECT 1")
    assert "search_path=pg_catalog" in options
    assert "restrict_nonsystem_relation_kind=view,foreign-table" in options
