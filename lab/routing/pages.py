"""The configurations that docs/ROUTING.md gives to operators. Tests run them as they stand, with other addresses.

A configuration is a fenced block whose first line names its file: `# /etc/bird/bird.conf on each gateway`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ROUTING.md"


def configuration(title: str, instead: Mapping[str, str] | None = None) -> str:
    """The block whose first line is `title`, after its comment sign. Texts in `instead` are replaced by others.

    Raises LookupError if there is not exactly one such block, or a text to be replaced is not in it.
    """
    blocks = re.findall(r"^```\w*\n[#!] (.*)\n((?:.*\n)*?)```$", PAGE.read_text(), re.MULTILINE)
    found = [text for head, text in blocks if head == title]
    if len(found) != 1:
        raise LookupError(f"{PAGE.name} has {len(found)} configurations with the title {title!r}")
    text: str = found[0]
    for old in instead or {}:
        if old not in text:
            raise LookupError(f"{PAGE.name}: {title}: there is no {old!r} to replace")
    pattern = "|".join(sorted(map(re.escape, instead or {}), key=len, reverse=True))
    return re.sub(pattern, lambda match: (instead or {})[match[0]], text) if pattern else text
