"""Values as PostgreSQL takes them. There is no database here."""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.model import AllowedIP


def storable(text: str) -> str:
    """A text to look for. PostgreSQL's texts have neither NUL nor lone surrogates; each becomes U+FFFD."""
    if "\0" in text or not text.isprintable():
        return "".join("\ufffd" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def array(prefixes: Iterable[AllowedIP]) -> str:
    """Prefixes as the text of a `cidr[]`."""
    return "{" + ",".join(map(str, prefixes)) + "}"
