"""What an import would stumble over in the names and addresses of AutoBot's users."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import Any, NamedTuple

SHOWN_PROBLEMS = 100

USERNAME = re.compile(r"[a-zA-Z0-9_]{3,100}")
USERNAME_LENGTH = 100
EMAIL_LENGTH = 255
_LOCAL_PART = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
ADDRESS = re.compile(rf"{_LOCAL_PART}(\.{_LOCAL_PART})*@{_LABEL}(\.{_LABEL})*")
# Letters, marks and signs that RFC 8264 forbids or of which nothing is seen: fillers, and what
# stretches, repeats or varies other characters.
UNSEEN = (
    "\u034f\u0640\u07fa\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u302e\u302f"
    "\u3031-\u3035\u303b\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
# Of Korean syllables, which no name can hold and the mapping leaves.
PARTS_OF_SYLLABLES = "\u1100-\u115e\u1161-\u11ff\ua960-\ua97c\ud7b0-\ud7c6\ud7cb-\ud7fb"
UNMAPPED = re.compile(f"[{UNSEEN}]")
FORBIDDEN = re.compile(f"[{UNSEEN}{PARTS_OF_SYLLABLES}]")

REFUSED = "An import would refuse it."
OUTSIDE = (
    "Its name is outside AutoBot's own rule (3 to 100 letters, digits and underscores). An import "
    "would take it, as {word}."
)
ONE_OF_THEM = "An import would take only one of them."
ONE_PERSON = "An import would take both for one person."


class Person(NamedTuple):
    """A user of the store with this number; `email`, in lower case, is None for one without, or
    with one that was made up.
    """

    store: int
    id: Any
    name: str
    word: str
    email: str | None


def comparable(name: str) -> str:
    """What is the same for two names that people cannot tell apart."""
    # Twice: the mapping can leave what a further one changes.
    for _ in range(2):
        name = UNMAPPED.sub("", " ".join(unicodedata.normalize("NFC", name).split()))
        name = unicodedata.normalize("NFKC", name.casefold())
    return name


def refusal(name: str, email: str | None) -> str:
    """Why an import would not take a user with this name and address; "" when it would.

    The rule of the import, without its libraries; an address with an internationalised domain is
    left to them.
    """
    name, email = unicodedata.normalize("NFC", name.strip()), (email or "").strip()
    word = comparable(name)
    if not name:
        return "It has no name."
    if max(len(name), len(name.lower()), len(word)) > USERNAME_LENGTH:
        return f"Its name has more than {USERNAME_LENGTH} characters."
    if _is_unseen(name) or " " in word or not word.isprintable():
        return "Its name holds white space or characters that people cannot see or tell apart."
    if email and not _is_address(email):
        return "Its e-mail address is not of the form name@domain."
    if "@" in word and word != (email.lower() or word):
        return "Its name holds an @ and is not its e-mail address."
    if "@" in word and not _is_address(word):
        return "Its name holds an @ and is no e-mail address."
    return ""


def _is_unseen(name: str) -> bool:
    """Whether something in a name cannot be seen; a mark needs a letter to stand on."""
    return (
        not name.isprintable()
        or " " in name
        or FORBIDDEN.search(name) is not None
        or unicodedata.category(name[0]).startswith("M")
    )


def _is_address(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    if not domain.isascii():
        domain = "internationalised"
    return len(text) <= EMAIL_LENGTH and ADDRESS.fullmatch(f"{local}@{domain}") is not None


def judge(made: list[dict[str, Any]], people: list[Person]) -> None:
    """Put into each store what an import would stumble over, the worst first."""
    by_word: defaultdict[tuple[str, str], list[Person]] = defaultdict(list)
    for person in people:
        for word in {person.word, person.email or person.word}:
            by_word[made[person.store]["population"], word].append(person)
    refused: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    clashing: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    strange: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    for person in people:
        if reason := refusal(person.name, person.email):
            refused[person.store].append({"user": person.name, "reason": f"{reason} {REFUSED}"})
        elif not USERNAME.fullmatch(person.name):
            reason = OUTSIDE.format(word=person.word)
            strange[person.store].append({"user": person.name, "reason": reason})
        for reason in _clashes(person, by_word, made):
            clashing[person.store].append({"user": person.name, "reason": reason})
    for number, store in enumerate(made):
        problems = [*store["problems"], *refused[number], *clashing[number], *strange[number]]
        if len(problems) > SHOWN_PROBLEMS:
            more = f"There are {len(problems) - SHOWN_PROBLEMS} more."
            problems = [*problems[:SHOWN_PROBLEMS], {"user": "", "reason": more}]
        store["problems"] = problems


def _clashes(
    person: Person,
    by_word: dict[tuple[str, str], list[Person]],
    made: list[dict[str, Any]],
) -> list[str]:
    """Of each name or address of a user, why it is also somebody else's, if it is."""
    population = made[person.store]["population"]
    reasons: dict[str, None] = {}
    for word in (person.word, person.email or person.word):
        for other in by_word[population, word]:
            if other is not person and (reason := _clash(person, other, made)):
                reasons[reason] = None
                break
    return list(reasons)


def _clash(one: Person, other: Person, made: list[dict[str, Any]]) -> str:
    """What an import would do with two who share a name or an address; "" for one person."""
    store = made[other.store]
    is_inside = one.store == other.store
    them = other.name if is_inside else f"{other.name} in {store['cluster']} {store['database']}"
    if not is_inside and isinstance(one.id, str) and one.id == other.id:
        return ""
    if one.word != other.word and one.email != other.email:
        return f"It has a name that is the address of {them}, or the reverse. {ONE_OF_THEM}"
    if is_inside:
        what = "Its name" if one.word == other.word else "Its e-mail address"
        return f"{what} is, but for case and the like, that of {them}, too. {ONE_OF_THEM}"
    if one.word != other.word:
        return f"It has the e-mail address of {them}. {ONE_PERSON}"
    if one.email is not None and other.email is not None:
        different = f"It has the name of {them}, and another e-mail address. {ONE_PERSON}"
        return different if one.email != other.email else ""
    # Whoever came here by an import has the name that they had.
    if "ours" in (made[one.store]["schema"], store["schema"]):
        return ""
    return f"It has the name of {them}; whether they are one person is not said. {ONE_PERSON}"
