"""Firewall programs: their names, their errors, and what of an interface's name goes into a rule."""

import re
import sys
from concurrent.futures import wait
from pathlib import Path

import pytest

from wgjit.drivers.capture import rules_xt
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


# --- iptables' rules, with a firewall in memory -----------------------------------------------------------------------


class Firewall:
    """`iptables` and `ip6tables` with one chain each, by the lines that `-S` prints."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {"iptables": [], "ip6tables": []}
        self.packets = 0
        self.failure: CaptureError | None = None

    def run(self, program: str, *words: str, stdin: str = "") -> str:
        if self.failure:
            raise self.failure
        chain = self.chains[program.removesuffix("-restore")]
        if program.endswith("-restore"):
            for line in stdin.splitlines():
                if line.startswith("-D"):
                    chain.remove("-A" + line[2:])
                elif line.startswith("-A"):
                    chain.append(line)
            return ""
        counters = f" -c {self.packets} 0" if "-v" in words else ""
        return "".join(f"{line}{counters}\n" for line in chain)


@pytest.fixture
def firewall(monkeypatch: pytest.MonkeyPatch) -> Firewall:
    made = Firewall()
    monkeypatch.setattr(rules_xt, "run", made.run)
    monkeypatch.setattr(rules_xt, "_installed", lambda programs: list(programs[:1]))
    monkeypatch.setattr(rules_xt, "CHECK", 0.0)
    monkeypatch.setattr("wgjit.drivers.capture.rules_xt.os.path.exists", lambda path: True)
    return made


def looks(rules: XtRules, times: int = 3) -> bool:
    """Whether one of the next looks for the rules has put them back; the first may have begun before."""
    put_back = False
    for _ in range(times):
        put_back |= rules.heartbeat()
        wait([rules._look] if rules._look else [])
    return put_back


def test_rules_of_iptables_that_are_gone_come_back_each_time_and_their_packets_still_count(firewall: Firewall) -> None:
    rules = XtRules("wg0", 51820, 5)
    rules.install()
    firewall.packets = 3
    assert rules.asked() == 6
    assert not looks(rules)
    for chain in firewall.chains.values():
        assert len(chain) == 1
    firewall.chains["ip6tables"].clear()
    firewall.packets = 0
    assert looks(rules)
    assert [len(chain) for chain in firewall.chains.values()] == [1, 1]
    assert rules.asked() == 6
    firewall.packets = 2
    assert rules.asked() == 10
    rules.disarm()
    assert firewall.chains == {"iptables": [], "ip6tables": []}


def test_a_firewall_that_cannot_be_asked_is_an_error_and_is_asked_again(firewall: Firewall) -> None:
    rules = XtRules("wg0", 51820, 5)
    rules.install()
    firewall.failure = CaptureError("iptables: no answer in 30 s")
    with pytest.raises(CaptureError, match="no answer"):
        looks(rules)
    firewall.failure = None
    for chain in firewall.chains.values():
        chain.clear()
    assert looks(rules)
    rules.disarm()
