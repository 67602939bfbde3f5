"""The segments of a request's path, each decoded once.

Routes are found by the decoded path, in which a `/` that was sent as `%2F` would split a segment. So it stands as
`SLASH` there, until the route's handler gets the segment. A path that is no UTF-8, or that has `SLASH` itself, is
refused: no name has either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from wgjit.api.problems import Kind, Problem

SLASH = "\0"
"""Stands for a `/` inside of a segment."""


def decoded_path(raw: bytes) -> str:
    """The path whose segments are decoded once, as routes are found by it. Raises Problem."""
    return "/".join(_decoded(segment) for segment in raw.split(b"/"))


def _decoded(segment: bytes) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise Problem(Kind.MALFORMED, "the path is not UTF-8 after percent-decoding") from None
    if SLASH in text:
        raise Problem(Kind.MALFORMED, "the path has a zero byte in it")
    return text.replace("/", SLASH)


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A route's parameters as its handler gets them: with each `/` that was sent as `%2F`."""
    return {name: value.replace(SLASH, "/") if isinstance(value, str) else value for name, value in parameters.items()}
