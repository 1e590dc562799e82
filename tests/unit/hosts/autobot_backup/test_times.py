"""Times as people write them."""

import pytest

from autobot_backup.errors import BackupError
from autobot_backup.times import format_time, parse_time
from tests.support.backup_repositories import NOON


def test_times_can_be_asked_for_again() -> None:
    assert format_time(NOON) == "2026-01-31T12:00:00Z"
    assert parse_time(format_time(NOON + 0.25)) == NOON + 0.25


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00.250000Z",
        "2026-01-31T12:00:00.25z",
        "2026-01-31 13:00:00.25+01:00",
        "2026-01-31T13:00:00.250+01",
        "2026-01-31T07:00:00.2500001-0500",
    ],
)
def test_a_time_is_read_however_people_write_it(text: str) -> None:
    assert parse_time(text) == NOON + 0.25


def test_a_time_may_lack_its_seconds() -> None:
    assert parse_time("2026-01-31T12:00Z") == NOON


@pytest.mark.parametrize("text", ["", "noon", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BackupError, match="is no time"):
        parse_time(text)


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "2026-01-31 12:00"])
def test_a_time_without_its_zone_is_refused(text: str) -> None:
    with pytest.raises(BackupError, match="says no time zone"):
        parse_time(text)
