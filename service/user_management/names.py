"""Names and addresses as people see them: what a name can hold, and which two are the same.

Both are rules of PRECIS. Its FreeformClass (RFC 8264) says which characters can be told apart, the
mapping of its Nickname profile (RFC 8266) which texts are one name: NFKC, case folding, one blank
for several. Domains of addresses follow IDNA (UTS 46).
"""

import unicodedata
from contextlib import suppress
from functools import lru_cache
from typing import Final

import idna
from precis_i18n import get_profile
from precis_i18n.context import context_rule_error
from precis_i18n.derived import CONTEXTJ, DISALLOWED, UNASSIGNED, derived_property
from precis_i18n.unicode import UnicodeData

_UNICODE: Final = UnicodeData()
_NICKNAME: Final = get_profile("NicknameCaseMapped:CaseFold")
# Braille without a dot: Unicode counts it among the symbols, and nothing is seen of it.
_BLANK_SYMBOL: Final = "\N{BRAILLE PATTERN BLANK}"
# Letters to Unicode, and nothing is seen of them either.
_FILLERS: Final = (
    "\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}"
    "\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}"
)


def readable(text: str) -> str:
    """A name in NFC. Raises ValueError when it holds what people cannot see or tell apart."""
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text)
    for position, character in enumerate(text):
        # A mark needs a letter to stand on.
        is_loose = position == 0 and unicodedata.category(character).startswith("M")
        if is_loose or not _can_be_seen(text, position):
            raise ValueError(
                f"A name cannot hold {_called(character)}, which people cannot see or tell apart. "
                "Leave it out."
            )
    return text


def without_invisible(text: str) -> str:
    """A name in NFC, without what people cannot see or tell apart."""
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join(
        character for position, character in enumerate(text) if _can_be_seen(text, position)
    )


def comparable(text: str) -> str:
    """What is the same for two names that people cannot tell apart."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ").lower()
    # Twice: the mapping can leave what a further one changes.
    return _mapped(_mapped(text))


def _mapped(text: str) -> str:
    """A text without what cannot be seen, mapped as a nickname."""
    text = unicodedata.normalize("NFC", text)
    seen = "".join(
        character
        for position, character in enumerate(text)
        if _can_be_seen(text, position) or _is_part_of_a_syllable(character)
    )
    return _NICKNAME.apply_five_rules(seen)


def ascii_address(address: str) -> str:
    """An address as mail servers take it: the domain in punycode. Raises ValueError."""
    local, at, domain = address.rpartition("@")
    if address.isascii() or not at:
        return address
    strange = next((character for character in local if not character.isascii()), None)
    if strange is not None:
        raise ValueError(
            f"Before the @ an address holds ASCII letters, digits and signs only, and not "
            f"{_called(strange)}. Give an address that is written without it."
        )
    try:
        return f"{local}@{idna.encode(readable(domain), uts46=True, std3_rules=True).decode()}"
    except idna.IDNAError:
        raise ValueError(
            f"There can be no domain {domain}. See that it is spelled right."
        ) from None


def shown_address(address: str) -> str:
    """An address as people write it: the domain in letters."""
    local, _, domain = address.rpartition("@")
    if "xn--" not in domain:
        return address
    return f"{local}@{'.'.join(map(_shown_label, domain.split('.')))}"


def login_words(typed: str) -> tuple[str, ...]:
    """What a typed name or address may stand for: as it is stored today, then as it was before.

    Names from before there was a rule stay as they are, in lower case.
    """
    earlier = typed.strip().lower()
    if earlier.isascii():
        return (earlier,)
    kept = comparable(earlier)
    with suppress(ValueError):
        kept = ascii_address(kept)
    return tuple(dict.fromkeys((kept, earlier)))


def _called(character: str) -> str:
    """A character in words: to print it would not show it."""
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" ({name})" if name else "")


def _shown_label(label: str) -> str:
    try:
        return idna.decode(label)
    except idna.IDNAError:
        return label


def _can_be_seen(text: str, position: int) -> bool:
    character = text[position]
    if character == _BLANK_SYMBOL:
        return False
    kind = _kind(character)
    if kind == CONTEXTJ:
        # Joiners that some scripts need between their letters.
        return not context_rule_error(text, position, _UNICODE)
    return kind not in (DISALLOWED, UNASSIGNED)


def _is_part_of_a_syllable(character: str) -> bool:
    """One of the letters into which the mapping takes Korean ones apart; no name can hold them."""
    return unicodedata.category(character) == "Lo" and character not in _FILLERS


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    return derived_property(ord(character), _UNICODE)[0]
