"""The rules for a new password, and one-time passwords.

Length is what counts: no composition rules. Refused is what an attacker tries first. Everything
works offline: the list is the 30 000 most used passwords that the package zxcvbn carries.
"""

import importlib.util
import re
import runpy
import secrets
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

from user_management.errors import PasswordRefused
from user_management.security.hashing import MAX_PASSWORD_LENGTH, normalize_password

MIN_LENGTH = 12
MAX_LENGTH = 128
# Long enough for a site that is set up on a Friday and first used on Monday.
ONE_TIME_PASSWORD_LIFETIME = timedelta(hours=72)

# Without a context word, this much must be left of a password.
_MIN_REMAINDER = 8
_MIN_CONTEXT_WORD = 3
_SERVICE_WORDS = ("autobot", "slm")

# How far down the ranked list a word stays too common even with digits and signs around it.
_COMMON_WORDS = 3000
# Words of installers, manuals and people in a hurry that do not stand so high in that list.
_OWN_WORDS = """
    adminuser administrator ansible autobotadmin autobotuser autumn changeit changemenow
    changethis database debian default defaultpassword demo example fleetadmin guest initial
    initialpassword january letmeinnow linux login mypassword newpassword office passcode
    passphrase pleasechange postgres postgresql production raspberry redis sample
    secretpassword service setup slmadmin superadmin superuser supervisor sysadmin system
    systemadmin temporary temporarypassword temppassword testuser ubuntu useradmin
    userpassword username welcometo
"""
_ROWS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")
_UNLEET = str.maketrans("01345789@$!|", "oleastbgasil")

# Lower case and digits without those that look alike: 0 o, 1 i l.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 7, 4


class _Blocklist(NamedTuple):
    passwords: frozenset[str]  # whole passwords
    words: frozenset[str]  # what a password may not consist of once digits and signs are gone


def check_new_password(password: str, *, context_words: Iterable[str]) -> None:
    """Raise PasswordRefused, saying why and what to do, unless `password` may be used.

    `context_words` are what an attacker knows of the person: username and e-mail address (of an
    address only the part before the @ counts). The words of the product are added here. The first
    call reads the list, about 25 ms.
    """
    if len(password) > MAX_PASSWORD_LENGTH:
        raise PasswordRefused(_too_long())
    password = normalize_password(password)
    if len(password) < MIN_LENGTH:
        raise PasswordRefused(
            f"The password is too short: it needs at least {MIN_LENGTH} characters. "
            "A few unrelated words make a good one."
        )
    if len(password) > MAX_LENGTH:
        raise PasswordRefused(_too_long())
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise PasswordRefused(
            "The password contains half of a character (a lone surrogate). "
            "Send it as valid Unicode text."
        )
    folded = password.casefold()
    if _is_repetition(folded) or _is_sequence(folded):
        raise PasswordRefused(
            "The password is a repetition or a row of the keyboard or alphabet, which is tried "
            "first. Choose one without such a pattern, for example a few unrelated words."
        )
    blocklist = _blocklist()
    if folded in blocklist.passwords or not blocklist.words.isdisjoint(_words(folded)):
        raise PasswordRefused(
            "The password is a common one, or a common word with digits or signs added, which is "
            "tried first. Choose another one, for example a few unrelated words."
        )
    remainder = _without(folded, context_words)
    if remainder != folded and (
        len(remainder) < _MIN_REMAINDER or remainder in blocklist.passwords
    ):
        raise PasswordRefused(
            "The password is little more than the username, the e-mail address or the name of "
            "the product. Choose one that does not follow from them."
        )


def generate_one_time_password() -> str:
    """Return a random password of 138 bits, in groups that can be read aloud and typed."""
    return "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS)
    )


def as_one_time_password(typed: str) -> str:
    """The one-time password that somebody typed in capitals, with blanks or without hyphens, as it
    was given to them; what is none stays as it is.
    """
    letters = "".join(typed.split()).replace("-", "").lower()
    if len(letters) != _GROUPS * _GROUP_LENGTH or not set(letters) <= set(_ALPHABET):
        return typed
    starts = range(0, len(letters), _GROUP_LENGTH)
    return "-".join(letters[start : start + _GROUP_LENGTH] for start in starts)


def _too_long() -> str:
    return f"The password is too long: it may have at most {MAX_LENGTH} characters. Shorten it."


def _is_repetition(folded: str) -> bool:
    """A repeated part is only as good as the part."""
    return re.fullmatch(rf"(.{{1,{MIN_LENGTH - 1}}}?)\1+", folded, re.DOTALL) is not None


def _is_sequence(folded: str) -> bool:
    repeats = MAX_LENGTH // len(min(_ROWS, key=len)) + 2
    return any(folded in row * repeats or folded in row[::-1] * repeats for row in _ROWS)


def _words(folded: str) -> set[str]:
    """The letters of a password, read plainly and with 0 for o, @ for a and so on.

    Where they are one word written twice or more, also that word.
    """
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", folded)
    readings = {re.sub(r"[\W\d_]", "", text) for text in (folded, core.translate(_UNLEET))}
    return readings | {re.sub(r"^(.+?)\1+$", r"\1", letters) for letters in readings}


def _without(folded: str, context_words: Iterable[str]) -> str:
    """Take the context words out of a password, the longest first."""
    words = {
        normalize_password(word).casefold().partition("@")[0]
        for word in (*context_words, *_SERVICE_WORDS)
    }
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _MIN_CONTEXT_WORD:
            folded = folded.replace(word, "")
    return folded


@cache
def _blocklist() -> _Blocklist:
    ranked = _ranked_passwords()
    return _Blocklist(
        # Shorter ones can neither be a password here nor be what is left of one.
        passwords=frozenset(entry for entry in ranked if len(entry) >= _MIN_REMAINDER),
        words=frozenset(entry for entry in ranked[:_COMMON_WORDS] if entry.isalpha())
        | frozenset(_OWN_WORDS.split()),
    )


def _ranked_passwords() -> list[str]:
    """zxcvbn's list, most used first.

    Its file is run by itself: importing the package would also build and keep its dictionaries of
    names and words, twice the memory.
    """
    package = importlib.util.find_spec("zxcvbn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("zxcvbn is not installed; install requirements/service.txt")
    lists = runpy.run_path(str(Path(package.origin).with_name("frequency_lists.py")))
    ranked: list[str] = lists["FREQUENCY_LISTS"]["passwords"]
    return ranked
