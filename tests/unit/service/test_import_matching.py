"""The rule of an import: who is who, and what is filled."""

from typing import Any
from uuid import UUID

import pytest

from user_management.transfer.candidates import Candidate
from user_management.transfer.matching import (
    FILLED,
    Decision,
    Existing,
    Known,
    Seen,
    Verdict,
    decide,
)


def number(digit: int) -> UUID:
    return UUID(int=digit)


def existing(digit: int, name: str, *empty: str, is_deleted: bool = False) -> Existing:
    return Existing(number(digit), name, f"{name}@x.y", is_deleted, frozenset(empty))


def candidate(name: str, **values: Any) -> Candidate:
    return Candidate(**({"place": "line 2", "username": name, "email": f"{name}@x.y"} | values))


ADA = existing(1, "ada", "password_hash", "bio", "preferences")
BOB = existing(2, "bob")
KNOWN = Known.of([ADA, BOB, existing(3, "carol", is_deleted=True)])


def judge(*candidates: Candidate) -> Decision:
    seen = Seen()
    return [decide(each, KNOWN, seen) for each in candidates][-1]


def test_who_is_not_known_is_created() -> None:
    assert judge(candidate("eve")).verdict is Verdict.CREATED
    assert judge(candidate("eve", id=number(9))).verdict is Verdict.CREATED


@pytest.mark.parametrize(
    "same",
    [
        candidate("ada"),
        candidate("ada", email="other@x.y"),
        candidate("other", email="ada@x.y"),
        # The id decides, whatever the names.
        candidate("bob", id=number(1)),
        candidate("other", id=number(1)),
        # An id that nobody has here decides nothing.
        candidate("ada", id=number(9)),
    ],
)
def test_who_is_known_by_id_or_name_or_address_stays_as_they_are(same: Candidate) -> None:
    decision = judge(same)
    assert (decision.verdict, decision.existing) == (Verdict.UNCHANGED, ADA)


def test_only_what_is_empty_is_filled() -> None:
    full = dict.fromkeys(FILLED, "something") | {"is_platform_admin": True, "is_active": False}
    decision = judge(candidate("ada", **full))
    assert (decision.verdict, decision.existing) == (Verdict.MERGED, ADA)
    assert set(decision.fill) == ADA.empty
    assert judge(candidate("bob", **full)).verdict is Verdict.UNCHANGED
    assert judge(candidate("ada", preferences="{}")).verdict is Verdict.UNCHANGED


@pytest.mark.parametrize(
    ("conflicting", "reason"),
    [
        (candidate("ada", email="bob@x.y"), "that of another, bob"),
        (candidate("carol", id=number(3)), "was deleted here"),
        (
            candidate("eve", email="bob@x.y", has_made_up_email=True),
            "bob@x.y, is another user's",
        ),
    ],
)
def test_who_cannot_be_told_is_skipped(conflicting: Candidate, reason: str) -> None:
    decision = judge(conflicting)
    assert decision.verdict is Verdict.SKIPPED
    assert decision.reason is not None
    assert reason in decision.reason


def test_a_made_up_address_says_nothing_about_who_it_is() -> None:
    decision = judge(candidate("ada", email="bob@x.y", has_made_up_email=True))
    assert (decision.verdict, decision.existing) == (Verdict.UNCHANGED, ADA)


@pytest.mark.parametrize("name", ["carol", "carol@x.y"])
def test_nobody_comes_back_who_was_deleted(name: str) -> None:
    known = Known(deleted_names={name: number(3)})
    decision = decide(candidate("carol"), known, Seen())
    assert decision.verdict is Verdict.SKIPPED
    assert decision.reason is not None
    assert "was deleted here" in decision.reason
    assert decision.deleted == number(3)


def test_a_row_is_who_it_was_when_it_was_imported() -> None:
    known = Known.of([existing(4, "robert"), existing(5, "bob"), BOB])
    known.by_key = {"bob": known.by_id[number(4)]}
    decision = decide(candidate("bob", key="bob", id=number(2)), known, Seen())
    assert (decision.verdict, decision.existing) == (Verdict.UNCHANGED, existing(4, "robert"))


@pytest.mark.parametrize(
    ("was", "reason"),
    [
        (None, "It was imported, and erased here."),
        (existing(3, "deleted-3", is_deleted=True), "This user was deleted here."),
    ],
)
def test_a_row_that_was_imported_makes_nobody_again(was: Existing | None, reason: str) -> None:
    known = Known(by_key={"eve": was})
    decision = decide(candidate("eve", key="eve"), known, Seen())
    assert (decision.verdict, decision.reason) == (Verdict.SKIPPED, reason)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (candidate("eve", email="other@x.y"), "the same username"),
        (candidate("other", email="eve@x.y"), "the same e-mail address"),
        (candidate("other", id=number(8)), "the same id"),
        (candidate("eve", id=number(8)), "the same username and e-mail address and id"),
    ],
)
def test_the_second_of_a_kind_is_skipped(second: Candidate, reason: str) -> None:
    decision = judge(candidate("eve", id=number(8)), second)
    assert decision.verdict is Verdict.SKIPPED
    assert f"An earlier row has {reason}." == decision.reason


def test_two_rows_are_not_merged_into_one_user() -> None:
    decision = judge(candidate("ada", email="new@x.y"), candidate("other", email="ada@x.y"))
    assert decision.verdict is Verdict.SKIPPED
    assert decision.reason == "An earlier row is the same existing user, ada."
