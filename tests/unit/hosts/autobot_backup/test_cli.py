"""The command's arguments."""

import argparse

import pytest

from autobot_backup import cli


def test_labels_and_points_are_names() -> None:
    assert cli.pair("revision=0005") == ("revision", "0005")
    assert cli.point_name("pre_0005-1.0.0") == "pre_0005-1.0.0"
    for text in ("revision", "=5", "Revision=5", "revision="):
        with pytest.raises(argparse.ArgumentTypeError):
            cli.pair(text)
    for text in ("", "it's", "x" * 60, "-x"):
        with pytest.raises(argparse.ArgumentTypeError):
            cli.point_name(text)
