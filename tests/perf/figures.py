"""The figures, each beside its aim, as a table and as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.perf.load import Answers


@dataclass(frozen=True)
class Aim:
    """A bound that a figure should keep."""

    bound: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """What was measured, once or several times; the median counts."""

    name: str
    samples: Sequence[float]
    unit: str
    aim: Aim | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        return None if self.aim is None else self.aim.holds(self.median)

    def row(self) -> str:
        """A line of the table; the smallest and largest sample stand behind the median."""
        spread = ""
        if len(self.samples) > 1:
            spread = f" ({_rounded(min(self.samples))} to {_rounded(max(self.samples))})"
        verdict = {None: "", True: "met", False: "**not met**"}[self.met]
        aim = f"{self.aim} {self.unit}".strip() if self.aim else ""
        return f"| {self.name} | {_rounded(self.median)}{spread} {self.unit} | {aim} | {verdict} |"


@dataclass
class Report:
    """All figures of a run, what they depend on, and the requests that failed."""

    facts: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(
        self, name: str, samples: Sequence[float] | float, unit: str, aim: Aim | None = None
    ) -> None:
        """Note a figure, and show it at once: the run takes long."""
        figure = Figure(name, samples if isinstance(samples, Sequence) else [samples], unit, aim)
        self.figures.append(figure)
        print(figure.row(), flush=True)  # noqa: T201

    def note(self, name: str, answers: Answers) -> None:
        """Keep what went wrong."""
        self.failures += [f"{name}: {count} times {why}" for why, count in answers.failures.items()]

    def markdown(self) -> str:
        """The report for people."""
        lines = ["| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self.facts.items()]
        lines += ["", "| figure | median (least to most) | aim | |", "|---|---|---|---|"]
        lines += [figure.row() for figure in self.figures]
        lines += ["", f"Failed requests: {len(self.failures) or 'none'}."]
        lines += [f"- {failure}" for failure in self.failures]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path) -> None:
        """Write bench.json and bench.md."""
        directory.mkdir(parents=True, exist_ok=True)
        figures = [
            {
                "name": figure.name,
                "median": figure.median,
                "unit": figure.unit,
                "samples": list(figure.samples),
                "aim": str(figure.aim) if figure.aim else None,
                "met": figure.met,
            }
            for figure in self.figures
        ]
        content = {"facts": self.facts, "figures": figures, "failures": self.failures}
        (directory / "bench.json").write_text(json.dumps(content, indent=2) + "\n")
        (directory / "bench.md").write_text(self.markdown())


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How fast the second coordinate grows with the first (least squares)."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
