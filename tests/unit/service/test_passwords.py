"""What a new password may be, and what a one-time password is."""

import math
import socket
import unicodedata
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_management.errors import PasswordRefused
from user_management.security import passwords
from user_management.security.passwords import (
    as_one_time_password,
    check_new_password,
    generate_one_time_password,
)

CONTEXT = ("testuser", "test@autobot.local")

# The next step that each refusal must offer.
TOO_SHORT = "at least 12 characters"
TOO_LONG = "at most 128 characters"
PATTERN = "without such a pattern"
COMMON = "Choose another one"
CONTEXTUAL = "does not follow from them"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule may need the network."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a password rule opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def accepted(password: str, context: Iterable[str] = CONTEXT) -> None:
    check_new_password(password, context_words=context)


def refused(password: str, context: Iterable[str] = CONTEXT) -> str:
    with pytest.raises(PasswordRefused) as refusal:
        check_new_password(password, context_words=context)
    assert password.casefold() not in refusal.value.detail.casefold()
    return refusal.value.detail


class TestLength:
    def test_counts_code_points_not_bytes(self) -> None:
        assert TOO_SHORT in refused("ключ-к-дому")  # 11 characters, 20 bytes
        accepted("ключ-к-дому!")
        assert TOO_SHORT in refused("🐙🦊🌵🎈🧊🪁🥁🛶🧭🌋🍋")
        accepted("🐙🦊🌵🎈🧊🪁🥁🛶🧭🌋🍋🏰")

    def test_counts_after_nfc(self) -> None:
        assert TOO_SHORT in refused("e\u0301tait-la-ba")  # 12 code points, 11 after NFC
        accepted("e\u0301tait-la-bas")

    def test_128_is_the_longest(self) -> None:
        words = "seven purple otters negotiate quietly with a lighthouse keeper about marmalade "
        text = words * 2

        accepted(text[:64])
        accepted(text[:128])
        assert TOO_LONG in refused(text[:129])

    def test_an_endless_one_is_refused_before_it_is_normalised(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NFC takes quadratic time for a run of combining marks."""

        def fail(_password: str) -> None:
            raise AssertionError("normalised")

        monkeypatch.setattr(passwords, "normalize_password", fail)

        assert TOO_LONG in refused("a" + "\u0301\u0316" * 100_000)

    def test_decomposed_text_may_be_longer_than_128_before_nfc(self) -> None:
        text = "pâté en croûte à la façon de mémé, dégusté près du clocher, " * 2 + "où été"

        assert len(text) <= 128 < len(unicodedata.normalize("NFD", text))
        accepted(unicodedata.normalize("NFD", text))

    def test_a_lone_surrogate_is_refused_with_advice(self) -> None:
        with pytest.raises(PasswordRefused, match="valid Unicode"):
            accepted("half \ud83d of a pair of characters")


class TestComposition:
    @pytest.mark.parametrize(
        "password",
        [
            "TestPass123!",  # the plan's example
            "aaaa bbbb cccc dddd",
            "only lower case letters",
            "ONLY UPPER CASE LETTERS",
            "839274982374",
            "#+~*!?=)(&%$",
            "  spaces around  ",
            "tab\tand\nline",
            "autobot-839274982374",
            "slm: seven purple otters",
        ],
    )
    def test_anything_goes(self, password: str) -> None:
        accepted(password)

    @given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=128))
    def test_a_refusal_is_always_one_of_the_named_reasons(self, password: str) -> None:
        try:
            accepted(password)
        except PasswordRefused as refusal:
            assert any(hint in refusal.detail for hint in (PATTERN, COMMON, CONTEXTUAL))  # noqa: PT017


@pytest.fixture(scope="module")
def ranked() -> Any:
    return passwords._ranked_passwords()


class TestBlocklist:
    def test_the_list_is_there(self, ranked: Any) -> None:
        assert len(ranked) == 30_000
        assert ranked[:4] == ["123456", "password", "12345678", "qwerty"]

    def test_every_entry_that_is_long_enough_is_refused(self, ranked: Any) -> None:
        entries = [entry for entry in ranked if len(entry) >= passwords.MIN_LENGTH]

        assert len(entries) > 200
        for entry in entries:
            for spelling in (entry, entry.upper(), entry.capitalize()):
                assert COMMON in (reason := refused(spelling)) or PATTERN in reason

    def test_the_3000_most_used_are_refused_with_digits_and_signs_around(self, ranked: Any) -> None:
        words = [entry for entry in ranked[:3000] if entry.isalpha() and len(entry) <= 116]

        assert len(words) > 1500
        for word in words:
            refused(f"{word}2026-11-23!")
            refused(f"!!{word.upper()}-1234567890")

    @pytest.mark.parametrize("word", passwords._OWN_WORDS.split())
    def test_the_words_of_installers_are_refused(self, word: str, ranked: Any) -> None:
        assert word not in ranked[:3000], "already covered by the list"
        assert COMMON in refused(f"{word.capitalize()}123456789!")

    @pytest.mark.parametrize(
        "password",
        [
            "ChangeMe123!",
            "Password1234",
            "P@ssw0rd2026!",
            "2026-Passw0rd!",
            "adminadmin123",
            "Pass-word-12345",
            "W3lc0me-2026!",
            "q1w2e3r4t5y6",
        ],
    )
    def test_common_ones_in_disguise(self, password: str) -> None:
        assert COMMON in refused(password)

    @pytest.mark.parametrize(
        "password",
        [
            "aaaaaaaaaaaa",
            "xyxyxyxyxyxy",
            "kiwi-kiwi-kiwi-",
            "marmaladeOKmarmaladeOK",
            "123456789012",
            "098765432109",
            "abcdefghijkl",
            "zyxwvutsrqpo",
            "QwertyUiopas",
            "MNBVCXZLKJHGF",
        ],
    )
    def test_repetitions_and_rows(self, password: str) -> None:
        assert PATTERN in refused(password)

    def test_a_long_part_said_twice_is_fine(self) -> None:
        accepted("otters negotiate! otters negotiate!")


class TestContext:
    @pytest.mark.parametrize(
        ("password", "context"),
        [
            ("gwendolyn2026", ["gwendolyn"]),
            ("Gwendolyn-2026!", ["gwendolyn"]),
            ("2026gwendolyn!", ["GWENDOLYN"]),
            ("gwen.hooper.99", ["gwendolyn", "gwen.hooper@example.org"]),
            ("gwendolyn12345678", ["gwendolyn"]),
            ("gwendolynautobot", ["gwendolyn"]),
            ("gwendolyn2026xy", ["gwen", "gwendolyn"]),
            ("AutoBot-2026!", []),
            ("slm-slm-2026", []),
            ("mémémémé-rené", ["me\u0301me\u0301", "rené"]),
        ],
    )
    def test_little_more_than_the_name_is_refused(
        self, password: str, context: list[Any] | list[str]
    ) -> None:
        assert CONTEXTUAL in refused(password, context)

    @pytest.mark.parametrize(
        ("password", "context"),
        [
            ("gwendolyn likes brass bands", ["gwendolyn"]),
            ("TestPass123!", ["testuser", "test@autobot.local"]),
            ("banana-cabana", ["a", "na@example.org"]),
            ("example.org/otters", ["gwen@example.org"]),
        ],
    )
    def test_a_name_inside_a_longer_password_is_not(
        self, password: str, context: list[str]
    ) -> None:
        accepted(password, context)


class TestOneTimePassword:
    def test_shape(self) -> None:
        password = generate_one_time_password()

        assert [len(group) for group in password.split("-")] == [4] * 7
        assert not set(password) & set("0o1ilIO")
        assert len(password.encode()) <= 72

    def test_is_random_and_passes_the_rules(self) -> None:
        made = {generate_one_time_password() for _ in range(500)}

        assert len(made) == 500
        for password in made:
            accepted(password, ["admin", "admin@autobot.internal"])

    def test_holds_at_least_128_bits(self) -> None:
        letters = set("".join(generate_one_time_password() for _ in range(500))) - {"-"}
        assert 28 * math.log2(len(letters)) >= 128


@pytest.mark.parametrize(
    "typed",
    [
        "ABCD-efgh-jkmn-pqrs-tuvw-xyz2-3456",
        "abcdefghjkmnpqrstuvwxyz23456",
        " abcd efgh jkmn pqrs tuvw xyz2 3456\n",
        "abcd - efgh-jkmn-pqrs-tuvw-xyz2-3456",
    ],
)
def test_a_one_time_password_is_read_as_it_was_given(typed: str) -> None:
    assert as_one_time_password(typed) == "abcd-efgh-jkmn-pqrs-tuvw-xyz2-3456"


@pytest.mark.parametrize(
    "typed", ["", "granite-otter-52", "abcd-efgh-jkmn-pqrs-tuvw-xyz2-345", "O" * 28]
)
def test_what_is_no_one_time_password_stays_as_it_is(typed: str) -> None:
    assert as_one_time_password(typed) == typed
