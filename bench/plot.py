"""Plots as SVG, in the two kinds that the benchmarks need: lines over an axis, and bars side by side.

No plotting library is used: a plot is some fifty elements of text, and the usual library brings 60 MB of compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
"""Margins in pixels: room for labels."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""

Points = Sequence[tuple[float, float]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) from `low` to `high`, about `count` of them."""
    if not low < high:
        raise ValueError(f"axis from {low:g} to {high:g}: nothing between them")
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


class _Canvas:
    def __init__(self, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12" role="img"><title>{escape(title)}</title>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        ]
        self.text(LEFT, 20, title, "start", size=14)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", size: int = 12, turn: bool = False) -> None:
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{turned}>{escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def path(self, points: Points, colour: str) -> None:
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        size = f'width="{width:.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"/>')

    def legend(self, names: Sequence[str]) -> None:
        x = float(LEFT)
        for name, colour in zip(names, COLOURS, strict=False):
            self.box(x, 28, 10, 4, colour)
            self.text(x + 14, 34, name, "start", size=11)
            x += 30 + 6.2 * len(name)

    def done(self) -> str:
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def _vertical(canvas: _Canvas, high: float, label: str) -> float:
    """Draw the value axis from 0 to `high`; gives the pixels of one unit."""
    scale = (HEIGHT - TOP - BOTTOM) / high
    for value in ticks(0, high):
        y = HEIGHT - BOTTOM - value * scale
        canvas.line(LEFT, y, WIDTH - RIGHT, y, "#ddd")
        canvas.text(LEFT - 6, y + 4, _number(value), "end")
    canvas.text(16, (HEIGHT - BOTTOM + TOP) / 2, label, turn=True)
    return scale


def _checked(names: Mapping[str, object]) -> None:
    if not 1 <= len(names) <= len(COLOURS):
        raise ValueError(f"plot of {len(names)} series: must be 1 to {len(COLOURS)}")


def lines(title: str, series: Mapping[str, Points], x_label: str, y_label: str, *, log_x: bool = False) -> str:
    """Lines through points, from 0 upwards; a logarithmic x axis leaves out what is not above 0.

    Raises ValueError without a point above 0 on each axis, or for more series than there are colours.
    """
    _checked(series)
    shown = {name: [p for p in points if p[0] > 0 or not log_x] for name, points in series.items()}
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points]
    if not xs or max(xs) <= 0 or max(ys) <= 0:
        raise ValueError(f"plot {title!r}: no point above 0")
    canvas = _Canvas(title)
    y_scale = _vertical(canvas, max(ys) * 1.02, y_label)
    low, high = (min(xs), max(xs)) if log_x else (0.0, max(xs))
    if log_x and low == high:
        low /= 10
    start, end = (math.log10(low), math.log10(high)) if log_x else (low, high)

    def across(x: float) -> float:
        return LEFT + ((math.log10(x) if log_x else x) - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    for value in _decades(low, high) if log_x else ticks(low, high, 8):
        canvas.line(across(value), TOP, across(value), HEIGHT - BOTTOM, "#eee")
        canvas.text(across(value), HEIGHT - BOTTOM + 16, _number(value))
    canvas.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label)
    for points, colour in zip(shown.values(), COLOURS, strict=False):
        canvas.path([(across(x), HEIGHT - BOTTOM - y * y_scale) for x, y in points], colour)
    canvas.legend(list(shown))
    return canvas.done()


def bars(
    title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]], y_label: str, *, high: float | None = None
) -> str:
    """Bars from 0 up to `high`, by default the greatest: for each group one of each series, its value above it.

    Raises ValueError for a series that does not have a value for each group, or without a value above 0.
    """
    _checked(series)
    if any(len(values) != len(groups) for values in series.values()):
        raise ValueError(f"plot {title!r}: each series needs {len(groups)} values")
    if high is None:
        high = max((value for values in series.values() for value in values), default=0.0)
    if not high > 0:
        raise ValueError(f"plot {title!r}: no value above 0")
    canvas = _Canvas(title)
    scale = _vertical(canvas, high * 1.08, y_label)
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.8 / len(series)
    for number, group in enumerate(groups):
        canvas.text(LEFT + room * (number + 0.5), HEIGHT - BOTTOM + 16, group)
        for place, (values, colour) in enumerate(zip(series.values(), COLOURS, strict=False)):
            x, y = LEFT + room * (number + 0.1) + width * place, HEIGHT - BOTTOM - values[number] * scale
            canvas.box(x, y, width * 0.95, HEIGHT - BOTTOM - y, colour)
            canvas.text(x + width / 2, y - 3, _number(values[number]), size=10)
    canvas.legend(list(series))
    return canvas.done()


def cumulative(times: Sequence[float]) -> list[tuple[float, float]]:
    """How many had come by when, as points of a line from (0, 0); at most some 500 of them."""
    ordered = sorted(times)
    every = max(1, len(ordered) // 500)
    points = [(time, float(number)) for number, time in enumerate(ordered, 1) if number % every == 0]
    return [(0.0, 0.0), *points, *([(ordered[-1], float(len(ordered)))] if ordered else [])]
