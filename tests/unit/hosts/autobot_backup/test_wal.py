"""Names of segments."""

from autobot_backup.wal import segment_name, segment_number


def test_names_and_numbers_of_segments() -> None:
    assert segment_name(1, 255) == "0000000100000000000000FF"
    assert segment_name(2, 256) == "000000020000000100000000"
    assert segment_number("000000020000000100000000") == 256
