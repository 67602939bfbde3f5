"""The words of wgjit's own are explained where they first stand on a page, with a link to all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/ARCHITECTURE.md"
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != GLOSSARY)]

USES = {
    "knock": r"\bknock(?:s|ed|ing)?\b",
    "proven": r"\bproven\b",
    "claim": r"\bclaims?\b",
    "hold": r"`hold`|\bhold, replay\b|\b(?:by|under|of|delivery) hold\b|\bhold (?:by (?:nft|ip)|\((?:nft|xt)\))",
}
"""Each word as it is used in prose. "Hold" is a word of everyday life, too."""


def prose(page: Path) -> str:
    """A page's text. Of code (but `hold`), tags and the addresses of links, as many blanks are left."""
    blank = re.compile(r"^```.*?^```|`(?!hold`)[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
    return blank.sub(lambda found: " " * len(found[0]), page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_word_is_explained_where_it_first_stands(page: Path) -> None:
    text = page.read_text()
    link = text.find("ARCHITECTURE.md#words")
    begins, ends = text.rfind("\n\n", 0, max(0, link)), text.find("\n\n", link)
    explained = text[begins:ends] if link >= 0 else ""
    for word, use in USES.items():
        if first := re.search(use, prose(page), re.IGNORECASE):
            assert f"*{word}*" in explained.lower(), (
                f"{word}: say what it is, or link to all words: ARCHITECTURE.md#words"
            )
            before = text.rfind("\n\n", 0, begins)  # a sentence may use the word that the next paragraph explains
            assert first.start() >= before, f"{word} stands before it is explained: {text[first.start() - 40 :][:80]}"


def test_the_list_of_all_words_has_them() -> None:
    table = GLOSSARY.read_text().partition("\n## Words\n")[2].partition("\n## ")[0]
    listed = " ".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE))
    assert [word for word in USES if not re.search(rf"\b{word}\b", listed)] == []
