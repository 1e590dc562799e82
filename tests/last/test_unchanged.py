"""The last run: whatever was lost, killed and restored before, nothing is left to change."""

from __future__ import annotations

from tests.lab.site import ELSEWHERE, HOSTS, Figure, ansible


def test_a_run_changes_nothing(figure: Figure) -> None:
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert run.changed == dict.fromkeys(("localhost", *HOSTS, ELSEWHERE), 0), run.tail()
    figure("run without a change", f"{run.seconds:.0f} s")
