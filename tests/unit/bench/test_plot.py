"""Plots: well-formed, every series is there, and points lie where their values say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bench.plot import COLOURS, bars, cumulative, lines, ticks

SVG = "{http://www.w3.org/2000/svg}"


def paths(svg: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(svg).findall(f"{SVG}polyline")
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", p.get("points", ""))] for p in found]


def texts(svg: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(svg).findall(f"{SVG}text")]


def test_lines_rise_with_their_values_and_are_named() -> None:
    svg = lines("a < b", {"one": [(0, 0), (1, 10), (2, 20)], "two": [(0, 5), (2, 5)]}, "s", "up")
    one, two = paths(svg)
    (x0, y0), (x1, y1), (x2, y2) = one
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y1
    assert two[0][1] == two[1][1]
    assert {"a < b", "one", "two", "s", "up"} <= set(texts(svg))


def test_a_logarithmic_axis_has_equal_decades_and_no_zero() -> None:
    ((a, _), (b, _), (c, _)) = paths(lines("t", {"one": [(0, 1), (1, 1), (10, 1), (100, 2)]}, "x", "y", log_x=True))[0]
    assert b - a == pytest.approx(c - b, abs=0.2)


def test_bars_are_as_high_as_their_values() -> None:
    svg = bars("t", ["x", "y"], {"one": [1, 2], "two": [4, 0.5]}, "ratio")
    boxes = ElementTree.fromstring(svg).findall(f"{SVG}rect")[1:5]
    heights = [float(box.get("height", "0")) for box in boxes]
    assert [height / heights[0] for height in heights] == pytest.approx([1, 4, 2, 0.5], rel=0.01)
    assert {"x", "y", "one", "two", "0.5"} <= set(texts(svg))


def test_ticks_are_round() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0, 0.34) == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="nothing between"):
        ticks(1, 1)


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match="no point above 0"):
        lines("t", {"one": []}, "x", "y")
    with pytest.raises(ValueError, match="needs 2 values"):
        bars("t", ["x", "y"], {"one": [1]}, "y")
    with pytest.raises(ValueError, match="no value above 0"):
        bars("t", ["x"], {"one": [0]}, "y")
    with pytest.raises(ValueError, match="series"):
        lines("t", {str(n): [(1, 1)] for n in range(len(COLOURS) + 1)}, "x", "y")


def test_a_cumulative_line_ends_with_all() -> None:
    assert cumulative([]) == [(0.0, 0.0)]
    assert cumulative([3.0, 1.0]) == [(0.0, 0.0), (1.0, 1.0), (3.0, 2.0), (3.0, 2.0)]
    many = cumulative([float(n) for n in range(12_345)])
    assert len(many) < 600
    assert many[-1] == (12_344.0, 12_345.0)
