"""Rules for single values, written once for validation and for the API's own description."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from user_management.names import ascii_address, shown_address

USERNAME_PATTERN = r"^[a-zA-Z0-9_]+$"
# What HTML's input type=email accepts, without empty parts between dots. Special-use domains
# such as .local are in use here and are as good as any other.
EMAIL_PATTERN = (
    r"^[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
)
# PostgreSQL's text cannot hold NUL.
TEXT_PATTERN = r"^[^\x00]*$"
# Something to read, without blanks around it.
NAME_PATTERN = r"^[^\s\x00]([^\x00]*[^\s\x00])?$"
SLUG_PATTERN = r"^[a-z0-9-]+$"
VISIBLE_PATTERN = r"^[!-~]+$"
# A script or data address in a picture's source is an attack on whoever looks at the user.
AVATAR_URL_PATTERN = r"^(https?://|/)[!-~]*$"
# What each asks for, for people: no message shows a regular expression.
IN_WORDS = {
    USERNAME_PATTERN: "Use letters, digits and underscores only",
    EMAIL_PATTERN: "Give an e-mail address of the form name@domain",
    TEXT_PATTERN: "Text holds no NUL character",
    NAME_PATTERN: "Give a name without blanks around it",
    SLUG_PATTERN: "Use lower-case letters, digits and hyphens only",
    VISIBLE_PATTERN: "Use letters, digits and signs of ASCII, without blanks",
    AVATAR_URL_PATTERN: "Give an address that begins with https://, http:// or /, without blanks",
}
# One part written again and again.
REPETITION_PATTERN = r"^([\s\S]+)\1+$"

EMAIL_LENGTH = 255
USERNAME_LENGTH = 100
TEXT_LENGTH = 255
SLUG_LENGTH = 100
LONG_TEXT_LENGTH = 500
# The policy (`check_new_password`) counts 12 to 128 code points after NFC; this bounds the work.
PASSWORD_INPUT_LENGTH = 1024
PREFERENCES_DEPTH = 32

_EMAIL = re.compile(EMAIL_PATTERN)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")
# In a query a plus that is not written as %2B is a blank.
_LOST_PLUS = re.compile(r"(\S+[Tt ]\d\d:\d\d\S*) (\d\d:?\d\d)")


def explain(fault: Mapping[str, Any]) -> str:
    """What is wrong with a value, for people, from one of Pydantic's errors."""
    if fault["type"] == "string_pattern_mismatch":
        return IN_WORDS[fault["ctx"]["pattern"]]
    return str(fault["msg"]).removeprefix("Value error, ")


def check_email(address: str) -> str:
    """Return the address in lower case, an internationalised domain in punycode.

    Raises ValueError, with a sentence, when it is not of the form name@domain or too long.
    """
    if len(address) <= EMAIL_LENGTH:
        address = ascii_address(address)
    if len(address) > EMAIL_LENGTH:
        raise ValueError(f"An e-mail address has at most {EMAIL_LENGTH} characters.")
    if not _EMAIL.fullmatch(address):
        raise ValueError("Give an e-mail address of the form name@domain.")
    return address.lower()


def check_preferences(preferences: dict[str, Any]) -> dict[str, Any]:
    """Return preferences or settings if PostgreSQL's jsonb can hold them.

    Raises ValueError for NUL characters, lone surrogates, numbers that are not finite, and
    nesting deeper than PREFERENCES_DEPTH.
    """
    remaining: list[tuple[Any, int]] = [(preferences, 1)]
    while remaining:
        value, depth = remaining.pop()
        if depth > PREFERENCES_DEPTH:
            raise ValueError(f"Objects are nested at most {PREFERENCES_DEPTH} levels deep")
        if isinstance(value, dict):
            remaining.extend((key, depth) for key in value)
            remaining.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            remaining.extend((item, depth + 1) for item in value)
        elif isinstance(value, str) and not _is_storable(value):
            raise ValueError("Text holds no NUL character and no lone surrogate")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("Numbers are finite")
    return preferences


def _check_moment(moment: object) -> object:
    """Refuse numbers, which would be taken for seconds since 1970, and give the zone its plus."""
    if not isinstance(moment, str):
        return moment
    if not _DATE.match(moment):
        raise ValueError("Give a time of the form 2026-01-31T12:00:00Z")
    return _LOST_PLUS.sub(r"\1+\2", moment) if _LOST_PLUS.fullmatch(moment) else moment


def _to_utc(moment: datetime) -> datetime:
    """The same moment in UTC, where it may lie outside the calendar."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("The time is outside the calendar") from None


def _whole(number: object) -> object:
    """JSON makes no difference between 5.0 and 5."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _is_storable(text: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


Username = Annotated[str, Field(min_length=3, max_length=USERNAME_LENGTH, pattern=USERNAME_PATTERN)]
# Checked by the service: no pattern says which domains there can be in other letters, and a stored
# address that stays as it is need not meet today's rule.
Email = Annotated[
    str,
    Field(
        max_length=EMAIL_LENGTH,
        json_schema_extra={"pattern": EMAIL_PATTERN},
        description="An internationalised domain may be given in letters or in punycode.",
    ),
]
# Of an answer: stored ones may predate today's rule.
ShownEmail = Annotated[str, AfterValidator(shown_address)]
NewPassword = Annotated[
    str,
    # The service counts after NFC, and checks what no pattern can say.
    Field(
        json_schema_extra={
            "format": "password",
            "minLength": 12,
            "maxLength": 128,
            "not": {"pattern": REPETITION_PATTERN},
        },
        description="12 to 128 characters; no common password, and not the user's own names.",
    ),
]
Password = Annotated[
    str,
    Field(min_length=1, max_length=PASSWORD_INPUT_LENGTH, json_schema_extra={"format": "password"}),
]
Text = Annotated[str, Field(max_length=TEXT_LENGTH, pattern=TEXT_PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH, pattern=NAME_PATTERN)]
Slug = Annotated[str, Field(min_length=1, max_length=SLUG_LENGTH, pattern=SLUG_PATTERN)]
LongText = Annotated[str, Field(max_length=LONG_TEXT_LENGTH, pattern=TEXT_PATTERN)]
# After an int's Field.
WHOLE = BeforeValidator(_whole)
Moment = Annotated[AwareDatetime, BeforeValidator(_check_moment), AfterValidator(_to_utc)]
AvatarUrl = Annotated[str, Field(max_length=LONG_TEXT_LENGTH, pattern=AVATAR_URL_PATTERN)]
Preferences = Annotated[
    dict[str, Any],
    AfterValidator(check_preferences),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": TEXT_PATTERN},
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
        }
    ),
]
# Those of an organization or team are no different.
Settings = Preferences
JSON_VALUE_SCHEMA: dict[str, Any] = {
    "description": "Any JSON value whose text holds no NUL character.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "pattern": TEXT_PATTERN},
        {"type": "array", "items": {"$ref": "#/components/schemas/JsonValue"}},
        {
            "type": "object",
            "propertyNames": {"pattern": TEXT_PATTERN},
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
        },
    ],
}
