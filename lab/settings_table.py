"""The table of settings in docs/CONFIGURATION.md. `./dev docs` makes it from the settings in the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from wgjit.config.reference import Row, rows

PAGE = Path(__file__).resolve().parents[1] / "docs" / "CONFIGURATION.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->\n"


def table() -> str:
    """The table in Markdown."""
    head = Row("setting", "default", "values", "meaning")
    lines = [head, Row(*["---"] * len(head)), *rows()]
    text = "".join("| " + " | ".join(row) + " |\n" for row in lines)
    return re.sub(r"\b([A-Z]+\.md)", r"[\1](\1)", text)


def written(page: str) -> str:
    """The page with the current table between its markers. Raises ValueError if the page has no markers."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{PAGE.name}: needs the two lines {BEGIN.strip()} and {END.strip()}, in this order")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    print(f"written: {PAGE}", file=sys.stderr)
