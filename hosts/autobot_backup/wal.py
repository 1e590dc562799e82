"""Positions in the WAL and names of its segments."""

from __future__ import annotations

# What initdb makes unless it is told otherwise; the names of WAL segments follow from it.
SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS_PER_LOG = 0x1_0000_0000 // SEGMENT_BYTES


def parse_lsn(text: str) -> int:
    """A position in the WAL as a number: 16/B374D848."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_number(name: str) -> int:
    """The position of a segment, without its timeline."""
    return int(name[8:16], 16) * SEGMENTS_PER_LOG + int(name[16:24], 16)


def segment_name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // SEGMENTS_PER_LOG:08X}{number % SEGMENTS_PER_LOG:08X}"
