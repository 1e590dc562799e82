"""What names can hold, and which of them people cannot tell apart."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from user_management.names import (
    comparable,
    login_words,
    readable,
    shown_address,
    without_invisible,
)
from user_management.schemas.fields import check_email

INVISIBLE = [
    *("\N{HANGUL FILLER}", "\N{BRAILLE PATTERN BLANK}", "\N{VARIATION SELECTOR-16}"),
    *("\N{COMBINING GRAPHEME JOINER}", "\N{HANGUL CHOSEONG FILLER}", "\N{VARIATION SELECTOR-17}"),
    *("\N{ZERO WIDTH SPACE}", "\N{SOFT HYPHEN}", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{WORD JOINER}"),
    *("\N{HALFWIDTH HANGUL FILLER}", "\N{ZERO WIDTH JOINER}", "\N{LINE SEPARATOR}", "\t", "\x85"),
    *("\ue000", "\ufffe", "\U000e0041", "\N{MONGOLIAN VOWEL SEPARATOR}"),
]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("place", ["{}ada", "a{}da", "ada{}"])
def test_what_cannot_be_seen_is_refused_wherever_it_stands(character: str, place: str) -> None:
    with pytest.raises(ValueError, match=rf"cannot hold U\+{ord(character):04X}"):
        readable(place.format(character))
    assert without_invisible(place.format(character)) == "ada"
    assert comparable(place.format(character)) == "ada"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Ada Lovelace",
            "José",
            "王小明",
            "ابتسام",
            "Ὀδυσσεύς",
            "Müller & Söhne — Abt. 3",
            "👍 team",
        ),
        # A joiner that Devanagari needs between its letters.
        "क्\N{ZERO WIDTH JOINER}ष",
        # Refused between letters other than l by RFC 8264, for domains; people see it.
        "People · Berlin",
    ],
)
def test_names_of_people_and_teams_are_taken_as_they_are(name: str) -> None:
    assert readable(name) == without_invisible(name) == name


def test_a_name_is_composed() -> None:
    assert readable("jose\N{COMBINING ACUTE ACCENT}") == "josé"
    with pytest.raises(ValueError, match="ACUTE"):
        readable("\N{COMBINING ACUTE ACCENT}jose")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jose\N{COMBINING ACUTE ACCENT}", "JOSÉ"),
        ("\N{FULLWIDTH LATIN SMALL LETTER S}ec", "sec"),
        ("\N{LATIN SMALL LETTER LONG S}ec", "SEC"),
        ("\N{LATIN SMALL LIGATURE FI}n", "fin"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("x\N{SUPERSCRIPT TWO}", "x2"),
        ("A\N{NO-BREAK SPACE}B", "a  b"),
        ("\N{KELVIN SIGN}ai", "kai"),
        ("\N{HALFWIDTH KATAKANA LETTER KA}", "カ"),
    ],
)
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


@pytest.mark.parametrize(
    ("one", "other"), [("jose", "josé"), ("ada1", "adal"), ("мир", "mir"), ("ㄱ", "ㄴ")]
)
def test_names_that_people_tell_apart_are_two(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)


@example("\N{HANGUL LETTER KIYEOK}")
@example("\N{HALFWIDTH HANGUL LETTER A}")
@example("\N{ARABIC LIGATURE SHADDA WITH FATHA MEDIAL FORM}")
@given(st.text())
def test_mapping_twice_changes_nothing(name: str) -> None:
    assert comparable(comparable(name)) == comparable(name)
    seen = "x" + without_invisible(name)
    assert readable(seen) == seen


@pytest.mark.parametrize(
    ("typed", "stored", "shown"),
    [
        ("Ada@Example.ORG", "ada@example.org", "ada@example.org"),
        ("ada@Bücher.example", "ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("ada@bu\N{COMBINING DIAERESIS}cher.example", "ada@xn--bcher-kva.example", None),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("ada@\N{FULLWIDTH LATIN SMALL LETTER E}x.org", "ada@ex.org", "ada@ex.org"),
        ("ada@例え.テスト", "ada@xn--r8jz45g.xn--zckzah", "ada@例え.テスト"),
        # It says nothing in punycode.
        ("ada@xn--a.example", "ada@xn--a.example", "ada@xn--a.example"),
    ],
)
def test_internationalised_domains_are_stored_in_punycode_and_shown_in_letters(
    typed: str, stored: str, shown: str | None
) -> None:
    assert check_email(typed) == stored
    assert shown_address(stored) == (shown or "ada@bücher.example")
    assert check_email(shown_address(stored)) == stored


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("josé@example.org", r"Before the @ .* not U\+00E9 .* written without it\."),
        ("\N{FULLWIDTH LATIN SMALL LETTER S}ec@example.org", r"Before the @ .* not U\+FF53"),
        ("ada@a_b.é", r"There can be no domain a_b\.é\."),
        ("ada@ex\N{ZERO WIDTH SPACE}ample.é", r"cannot hold U\+200B"),
        ("ada@-é.org", "There can be no domain"),
        ("ada", "of the form name@domain"),
        ("é", "of the form name@domain"),
        ("a@" + "é" * 250, "There can be no domain"),
    ],
)
def test_an_address_that_no_server_takes_is_refused_in_words(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_email(address)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (" Ada ", ("ada",)),
        ("ADA@Example.org", ("ada@example.org",)),
        ("ada@Bücher.example", ("ada@xn--bcher-kva.example", "ada@bücher.example")),
        ("Straße", ("strasse", "straße")),
        ("jörg", ("jörg",)),
        ("josé@x.y", ("josé@x.y",)),
    ],
)
def test_what_is_typed_at_a_login_may_be_stored_in_two_ways(
    typed: str, words: tuple[str, ...]
) -> None:
    assert login_words(typed) == words
