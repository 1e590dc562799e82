"""The process that checks and imports files."""

from __future__ import annotations

import os

import pytest

from slm_server.imports import worker


@pytest.mark.parametrize(("before", "after"), [(0, 10), (15, 15)])
def test_it_gives_way_and_takes_nothing_back(
    monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    """Who is no superuser may not come nearer to the front again."""
    asked = []
    monkeypatch.setattr(os, "getpriority", lambda *_: before)
    monkeypatch.setattr(os, "setpriority", lambda *given: asked.append(given))
    worker.give_way()
    assert asked == [(os.PRIO_PROCESS, 0, after)]
