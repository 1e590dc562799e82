"""What a check of `slm doctor` says."""

from typing import Literal

from pydantic import BaseModel


class Check(BaseModel):
    """One thing that was looked at; `advice` says what to do where it is not ok."""

    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Check:
    """As it should be."""
    return Check(check=check, state="ok", found=found)


def warning(check: str, found: str, advice: str) -> Check:
    """Works, and somebody should know."""
    return Check(check=check, state="warning", found=found, advice=advice)


def failed(check: str, found: str, advice: str) -> Check:
    """Does not work."""
    return Check(check=check, state="failed", found=found, advice=advice)
