"""A measured figure, its target, and how both are written."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import NamedTuple


class Figure(NamedTuple):
    """What was measured. Without `least` and `most` there is no target."""

    what: str
    value: float
    unit: str
    least: float = 0.0
    most: float = inf

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.least <= self.value <= self.most


def timed(action: Callable[[], object]) -> float:
    """Microseconds that a call takes."""
    began = perf_counter()
    action()
    return 1e6 * (perf_counter() - began)


def number(figure: Figure) -> str:
    """The value for a table, empty for nothing at all."""
    if not figure.value:
        return ""
    return f"{figure.value:,.{0 if figure.value >= 1000 else 1 if figure.value >= 10 else 2}f}"


def target(figure: Figure) -> str:
    """The target for a table, empty if there is none."""
    if figure.least:
        return f"at least {figure.least:,.0f}"
    return f"at most {figure.most:,.0f}" if figure.most < inf else ""
