"""What a restore would do, or why it cannot."""

import pytest

from autobot_backup.catalogue import Catalogue
from autobot_backup.restore.plan import LiveState, timeline_conflict
from tests.support.backup_repositories import CONFIGURATION, NOON, at


@pytest.mark.usefixtures("repositories")
def test_latest_has_what_the_server_goes_on_with() -> None:
    catalogue = Catalogue(CONFIGURATION)
    latest = catalogue.target("latest", NOON + 2000)
    said = timeline_conflict(latest, LiveState(timeline=1), whole=True)
    assert "is on timeline 1" in said
    assert "on timeline 2" in said
    for live in (0, 2):
        assert not timeline_conflict(latest, LiveState(timeline=live), whole=True)
    # Back to before a restore.
    before = catalogue.target(at(500), NOON + 2000)
    assert not timeline_conflict(before, LiveState(timeline=2), whole=True)
