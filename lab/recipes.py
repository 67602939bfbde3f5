"""The configurations that the project's pages give to operators. Tests run them as they stand, with other addresses.

A configuration is a fenced block whose first line names its file: `# /etc/bird/bird.conf on each gateway`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def configuration(page: str, title: str, instead: Mapping[str, str] | None = None) -> str:
    """The block of docs/`page` whose first line is `title`, after its comment sign. Texts in `instead` are replaced.

    Raises LookupError if there is not exactly one such block, or a text to be replaced is not in it.
    """
    blocks = re.findall(r"^```\w*\n[#!]+ (.*)\n((?:.*\n)*?)```$", (DOCS / page).read_text(), re.MULTILINE)
    found = [text for head, text in blocks if head == title]
    if len(found) != 1:
        raise LookupError(f"{page} has {len(found)} configurations with the title {title!r}")
    text: str = found[0]
    other = dict(instead or {})
    if missing := [old for old in other if old not in text]:
        raise LookupError(f"{page}: {title}: there is no {missing[0]!r} to replace")
    if not other:
        return text
    longest_first = "|".join(sorted(map(re.escape, other), key=len, reverse=True))
    return re.sub(longest_first, lambda match: other[match[0]], text)
