"""Firewall programs: their names, their errors, and what of an interface's name goes into a rule."""

import re
import sys
from pathlib import Path

import pytest

from wgjit.drivers.capture.rules import run
from wgjit.drivers.capture.rules_nft import TABLE, NftRules
from wgjit.drivers.capture.rules_xt import XtRules
from wgjit.drivers.netlink.nftables import table_name
from wgjit.errors import CaptureError

DOCUMENT = Path(__file__).parents[3] / "docs" / "DELIVERY.md"


@pytest.mark.parametrize(
    ("interface", "table"),
    [("wg0", "wgjit_wg0"), ("wg-0.1_a", "wgjit_wg-0.1_a"), ("wg@home", "wgjit_wg/40home"), ("ü", "wgjit_/c3/bc")],
)
def test_a_table_is_named_after_its_interface(interface: str, table: str) -> None:
    assert table_name(TABLE, interface) == table


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CaptureError, match="no-such-firewall: not installed"):
        run("no-such-firewall")


def test_the_line_that_says_what_is_wrong_is_given() -> None:
    script = "import sys; sys.exit('# Warning: old\\nx.nft:1:2: Error: no such table\\ntable inet x\\n  ^^^')"
    with pytest.raises(CaptureError, match=r"x\.nft:1:2: Error: no such table$"):
        run(sys.executable, "-c", script)
    with pytest.raises(CaptureError, match="exit status 3"):
        run(sys.executable, "-c", "raise SystemExit(3)")
    assert run(sys.executable, "-c", "print(input()[::-1])", stdin="abc") == "cba\n"


def test_no_program_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    rules = XtRules("wg0", 51820, 5)
    with pytest.raises(CaptureError, match="iptables: not installed"):
        rules.install()
    rules.disarm()
    rules.remove()


def test_the_documented_table_is_the_one_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("wgjit.drivers.capture.rules_nft.run", lambda *_, stdin: made.append(stdin))
    monkeypatch.setattr("wgjit.drivers.netlink.netfilter.NetfilterSocket", lambda: None)
    NftRules("wg0", 51820, 20000).install()

    documented = re.search(r"```\n(table inet wgjit_wg0.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert documented
    _replaced, _, table = made[0].partition("delete table inet wgjit_wg0\n")
    assert documented[1].replace(";", " ").split() == table.replace(";", " ").split()
