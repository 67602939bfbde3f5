"""Guesses a peer's name from the comments around its section, as programs and people write them.

| comment                                                       | written by                      | name          |
| ------------------------------------------------------------- | ------------------------------- | ------------- |
| `# Name = alice`                                              | `wgjit peer export`             | alice         |
| `# BEGIN_PEER alice`, `### Client alice`, `### begin alice ###` | installers' scripts           | alice         |
| `# ID: ...`, `# Name: alice`, `# Email: ...`, `# Created at:` | web UIs, several lines          | alice         |
| `# alice / alice@example.org / Updated: ... / Created: ...`   | web UIs, one line               | alice         |
| `# -WGP- Peer: KEY / Updated: ...`, `# -WGP- Display name: alice` | WireGuard Portal          | alice         |
| `#Name# = alice`                                              | dashboards                      | alice         |
| `# Client: alice (UUID)`                                      | wg-easy                         | alice         |
| `# friendly_name=alice`, `# friendly_json={"name": "alice"}`  | for an exporter of metrics      | alice         |
| `[Peer] # alice`, or `# alice` above                          | people                          | alice         |

A comment gives candidates, each with a rank; the block's best candidate is the name. Ids, dates and notes are never
names, a mail address is one only if there is nothing else. Pure.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from wgjit.errors import InvalidValue
from wgjit.stores.checks import NAME_LENGTH, check_name
from wgjit.wire.key_text import holds_key


class Rank(IntEnum):
    """How sure it is that a text is a name; the least is the surest."""

    NAME = 0
    """Labelled as a name."""
    USER = 1
    """Labelled as a client, a user, a device, or as the beginning of a client's lines."""
    DESCRIPTION = 2
    """Labelled as a description."""
    HEADER = 3
    """Behind `[Peer]`, without a label."""
    BARE = 4
    """A comment without a label."""
    STRANGE = 5
    """A comment with a label that is not known here."""
    MAIL = 6
    NOTHING = 7
    """Known to be no name: an id, a date."""

    @property
    def is_labelled(self) -> bool:
        """Whether a label says that the text is a name."""
        return self in (Rank.NAME, Rank.USER, Rank.DESCRIPTION, Rank.MAIL)


class Candidate(NamedTuple):
    """A text that may be a name."""

    rank: Rank
    text: str


_LABELS = {
    Rank.NAME: "name friendlyname displayname peername clientname nickname fullname alias",
    Rank.USER: "client user username peer device devicename host hostname owner login account "
    "begin beginpeer beginclient",
    Rank.DESCRIPTION: "description desc descr comment title label",
    Rank.MAIL: "email emailaddress mail peeremail",
}
_RANKS = {label: rank for rank, labels in _LABELS.items() for label in labels.split()}
_NO_NAME = re.compile(
    r"(?:peer|client|user)?(?:id|u?uid|identifier)|(?:created?|updated?|modif|changed|added|generated|expir|last|private|"
    r"public|preshared|allowed|telegram|disabled?|enabled?|address)[a-z]*|date|time|notes?|remarks?|phone|tags?|groups?|friendlyjson|"
    r"ip|ips|endpoint|key|psk|status|state|server|interface|interfacemode|mode|type|quota|traffic|end|version|"
    r"end(?:peer|client)"
)
"""Labels before no name, in small letters and without blanks."""

SETTING = re.compile(
    r"\[|(PublicKey|PrivateKey|PresharedKey|AllowedIPs|Endpoint|PersistentKeepalive|Address|DNS|ListenPort|MTU|FwMark|"
    r"Table|SaveConfig|PreUp|PostUp|PreDown|PostDown|AdvancedSecurity)\s*=",
    re.IGNORECASE,
)
"""The beginning of a header or a setting that is commented out. It is never a name."""

_LABELLED = re.compile(r"([A-Za-z][A-Za-z_ -]{0,30}?)\s*#?\s*[:=]\s*(.*)", re.DOTALL)
_SPACED = re.compile(
    r"((?:begin|end)[_-](?:peer|client)|begin|client|name|friendly_name)(?:#?\s+(.*))?", re.IGNORECASE | re.DOTALL
)
_BETWEEN = re.compile(r"\s+[|/]\s+")
_JSON = re.compile(r"friendly_json\s*=\s*(\{.*\})", re.IGNORECASE | re.DOTALL)
_JSON_FIELDS = (
    *("name", "friendlyname", "displayname", "username", "user", "client", "peer", "device", "hostname", "host"),
    *("label", "title", "nickname", "alias", "owner", "description"),
)
_MAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_UUID = re.compile(r"\s*\([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)$", re.IGNORECASE)
_TAG = re.compile(r"-[A-Z]+-\s+")
_RULE = re.compile(r"^[-=*~+_]{2,}\s*|\s*[-=*~+_]{2,}$")
_PROSE = re.compile(
    r"\b(?:do not|don't|must not)\b|\b(?:auto-?)?generated\b|\bmanaged by\b|\boverwritten\b|\bcommented lines\b|"
    r"\bthey are used\b|^ENDPOINT\s|^this file\b",
    re.IGNORECASE,
)
_END = re.compile(r"end(?:[_-](?:peer|client)\b|\b)[\s:]*(.*)", re.IGNORECASE | re.DOTALL)


def candidates(remark: str, *, bare: Rank = Rank.BARE) -> list[Candidate]:
    """What a comment, without its first `#`, says that may be a name. `bare`: the rank of a text without a label.

    Empty for an empty comment, a rule of dashes, and a setting that is commented out.
    """
    text = remark.strip("# \t")
    if len(text) > 2 * NAME_LENGTH + 100 and not _JSON.match(text):
        return []
    if text.startswith("Name = "):  # an export's own, whose names come back as they were
        return [Candidate(Rank.NAME, text.removeprefix("Name = ").strip())]
    text = _RULE.sub("", _RULE.sub("", _TAG.sub("", text, count=1)))
    if SETTING.match(text) or not any(map(str.isalnum, text)):
        return []
    if found := _JSON.match(text):
        return list(_of_json(found[1]))
    parts = _BETWEEN.split(text)
    said = [_one(part.strip(), bare) for part in parts]
    if any(each.rank in (Rank.NAME, Rank.MAIL, Rank.NOTHING) for each in said[1:]):
        first = next((each for each in said if each.rank is bare), None)
        return [each for each in said if each.rank is not bare or each is first]
    return [_one(text, bare)]


def best(found: Iterable[Candidate]) -> str | None:
    """The name: the first valid text of the surest rank. None if there is none, or if a key is in each."""
    for candidate in sorted(found, key=lambda each: each.rank):
        if candidate.rank is Rank.NOTHING:
            break
        if not any(map(str.isalnum, candidate.text)):
            continue
        with contextlib.suppress(InvalidValue):
            check_name(candidate.text)
            return candidate.text
    return None


def may_hold_key(remark: str) -> bool:
    """Whether a comment that is not too long for a name has a key in it. A setting that is commented out has none."""
    text = remark.strip("# \t")
    return len(text) <= 2 * NAME_LENGTH and not SETTING.match(text) and holds_key(text)


def ends(remark: str, begun: Iterable[str]) -> bool:
    """Whether a comment marks the end of a peer's lines: `END_PEER x`, `### end x ###`, `end x` after `begin x`."""
    whole = remark.strip(" \t")
    text = _RULE.sub("", _RULE.sub("", whole.strip("# \t")))
    found = _END.fullmatch(text)
    if found is None:
        return False
    name = found[1].strip()
    is_mark = bool(re.match(r"end[_-]", text, re.IGNORECASE)) or whole.endswith("##") or text != whole.strip("# \t")
    return is_mark or not name or name in begun


def _one(text: str, bare: Rank) -> Candidate:
    """The candidate of a text that says one thing."""
    text = text.strip("# \t")
    if found := _LABELLED.fullmatch(text):
        label, value = _plain(found[1]), _UUID.sub("", _unquoted(found[2].strip("# \t")))
        if (rank := _RANKS.get(label)) is not None:
            return Candidate(Rank.MAIL if rank is Rank.USER and _MAIL.fullmatch(value) else rank, value)
        return Candidate(Rank.NOTHING if _NO_NAME.fullmatch(label) else Rank.STRANGE, text)
    if found := _SPACED.fullmatch(text):
        rank = _RANKS.get(_plain(found[1]), Rank.NOTHING)
        return Candidate(rank, _UUID.sub("", _unquoted((found[2] or "").strip("# \t"))))
    if _MAIL.fullmatch(text):
        return Candidate(Rank.MAIL, text)
    return Candidate(Rank.NOTHING if _PROSE.search(text) else bare, _UUID.sub("", text))


def _of_json(text: str) -> Iterator[Candidate]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return
    by_name = {_plain(name): value for name, value in fields.items()}
    for name in _JSON_FIELDS:
        if isinstance(value := by_name.get(name), str) and value.strip():
            yield Candidate(Rank.NAME, value.strip())
    for name in ("email", "mail"):
        if isinstance(value := by_name.get(name), str):
            yield Candidate(Rank.MAIL, value.strip())


def _plain(label: str) -> str:
    """A label in small letters and without blanks, as `_RANKS` and `_NO_NAME` have it."""
    return re.sub(r"[\s_-]", "", label).lower()


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" else text
