"""The two populations of people, each in its own database."""

from enum import StrEnum


class Population(StrEnum):
    """Who is meant: fleet administrators (`slm`) or application users (`autobot`)."""

    SLM = "slm"
    AUTOBOT = "autobot"
