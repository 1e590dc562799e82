"""The rank of a role is that of the word which people read."""

import pytest

from user_management.autobot_roles import RANKED, AutobotRole, rank_of


@pytest.mark.parametrize(
    "name",
    [
        "operator",
        " Operator ",
        "\N{FULLWIDTH LATIN SMALL LETTER O}perator",
        "oper\N{ZERO WIDTH SPACE}ator",
        "oper\N{HANGUL FILLER}ator\N{VARIATION SELECTOR-16}",
    ],
)
def test_what_reads_as_a_word_of_autobots_has_its_rank(name: str) -> None:
    assert rank_of([name]) == rank_of([AutobotRole.OPERATOR])


@pytest.mark.parametrize("name", ["", "\N{ZERO WIDTH SPACE}", "\ud800", "operators", "user"])
def test_other_words_have_none(name: str) -> None:
    assert rank_of([name]) == 0


def test_the_highest_of_several_names_counts() -> None:
    assert [rank_of([name, "user"]) for name in RANKED] == [1, 2, 3, 4]
    assert rank_of([*reversed(RANKED)]) == len(RANKED)
    assert rank_of([]) == 0
