"""What is wrong with a value is said in words, never as a regular expression."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from user_management.schemas import fields
from user_management.schemas.fields import IN_WORDS, explain

APIS = [
    Path(__file__).parents[3] / "docs" / name for name in ("openapi.json", "openapi-backend.json")
]


def patterns(schema: Any) -> set[str]:
    """All patterns that a JSON schema asks for."""
    if isinstance(schema, list):
        return set().union(*map(patterns, schema))
    if not isinstance(schema, dict):
        return set()
    mine = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return mine.union(*(patterns(value) for key, value in schema.items() if key != "not"))


def test_each_pattern_that_is_asked_for_has_words() -> None:
    asked = patterns([json.loads(api.read_text()) for api in APIS])
    assert asked
    assert asked <= set(IN_WORDS)


@pytest.mark.parametrize("rule", ["Username", "Slug", "Name"])
def test_a_fault_is_said_without_the_pattern(rule: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(getattr(fields, rule)).validate_python(" (b ")
    said = [explain(fault) for fault in refused.value.errors()]
    assert said
    assert not any("^" in each or "pattern" in each for each in said)
