"""`wgjit peer export`: write all peers, as a stream, in the formats that `wgjit peer import` reads."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from wgjit.cli.peer.describe import Withheld
from wgjit.cli.shared.registry import existing, on_registry
from wgjit.errors import ConfigError
from wgjit.management.cells import escaped, to_cell
from wgjit.management.file_kinds import Format, by_ending
from wgjit.management.site import Site
from wgjit.model import Peer, Standing
from wgjit.stores import peer_json
from wgjit.stores.entries import Entry, Filter
from wgjit.wire.key_text import shown

_DASH = Path("-")


@on_registry
def export(
    file: Annotated[Path, typer.Argument(help="The file to write, mode 0600; - is standard output.")] = _DASH,
    form: Annotated[
        Format | None, typer.Option("--format", help="The format. By default taken from the file's ending, else jsonl.")
    ] = None,
    preshared_keys: Annotated[
        bool, typer.Option("--preshared-keys", help="Also write preshared keys. The export then holds secrets.")
    ] = False,
    *,
    here: Site,
) -> None:
    """Write all peers, in the order of their keys.

    jsonl and csv hold every field. conf and dump hold no expiry, idle timeout or labels, and dump holds no names.
    conf and dump leave out disabled and expired peers, because these formats cannot mark them.
    """
    left = _Left(preshared_keys, time.time())
    with existing(here, read_only=True) as registry, _opened(file) as output:
        for text in _TEXTS[form or by_ending(file.name) or Format.JSONL](
            left.seen(registry.peers.entries(Filter())), left
        ):
            output.write(text)
    left.tell()


class _Left:
    """Counts what an export leaves out, and says so at its end."""

    def __init__(self, preshared_keys: bool, now: float) -> None:
        self.preshared_keys = preshared_keys
        self._now = now
        self._secrets = 0
        self._peers = 0
        self._withheld = Withheld()
        self._escaped = 0

    def seen(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The same entries; peers whose name or label is withheld are counted."""
        for entry in entries:
            self._withheld.seen(entry)
            texts = (entry.peer.name or "", *entry.labels.keys(), *entry.labels.values())
            self._escaped += not all(map(str.isprintable, texts))
            yield entry

    def preshared_key(self, peer: Peer) -> str | None:
        """The peer's preshared key in base64. None if the peer has none, or if the export leaves preshared keys out."""
        if peer.preshared_key is None:
            return None
        if not self.preshared_keys:
            self._secrets += 1
            return None
        return peer.preshared_key.reveal_base64()

    def may_connect(self, entries: Iterable[Entry]) -> Iterator[Peer]:
        """The peers that are neither disabled nor expired. The others are counted."""
        for peer in (entry.peer for entry in entries):
            if peer.standing(self._now) is Standing.ENABLED:
                yield peer
            else:
                self._peers += 1

    def tell(self) -> None:
        """Say on standard error what was left out."""
        self._withheld.tell()
        if self._escaped:
            print(
                f"wgjit: {self._escaped} peers have a name or label with control characters, which are written as "
                "escapes such as \\n; give another name: wgjit peer set KEY --name NAME",
                file=sys.stderr,
            )
        if self._secrets:
            print(f"wgjit: {self._secrets} preshared keys were left out; --preshared-keys writes them", file=sys.stderr)
        if self._peers:
            print(
                f"wgjit: {self._peers} disabled or expired peers were left out; jsonl and csv hold them",
                file=sys.stderr,
            )


def _jsonl(entries: Iterable[Entry], left: _Left) -> Iterator[str]:
    for entry in entries:
        left.preshared_key(entry.peer)
        yield json.dumps(peer_json.to_fields(entry, preshared_keys=left.preshared_keys)) + "\n"


def _csv(entries: Iterable[Entry], left: _Left) -> Iterator[str]:
    columns = [name for name in peer_json.FIELDS if left.preshared_keys or name != "preshared_key"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for entry in entries:
        left.preshared_key(entry.peer)
        fields = peer_json.to_fields(entry, preshared_keys=left.preshared_keys)
        writer.writerow([to_cell(name, fields[name]) for name in columns])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()  # for an empty registry, this is the header


def _conf(entries: Iterable[Entry], left: _Left) -> Iterator[str]:
    for peer in left.may_connect(entries):
        lines = ["[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.name is not None:
            lines.insert(0, f"# Name = {escaped(peer.name)}")
        if key := left.preshared_key(peer):
            lines.append(f"PresharedKey = {key}")
        if peer.allowed_ips:
            lines.append(f"AllowedIPs = {', '.join(map(str, peer.allowed_ips))}")
        if peer.keepalive:
            lines.append(f"PersistentKeepalive = {peer.keepalive}")
        yield "\n".join(lines) + "\n\n"


def _dump(entries: Iterable[Entry], left: _Left) -> Iterator[str]:
    yield "(none)\t(none)\t0\toff\n"  # the interface's line: an export knows no interface
    for peer in left.may_connect(entries):
        key, prefixes = left.preshared_key(peer) or "(none)", ",".join(map(str, peer.allowed_ips)) or "(none)"
        yield f"{peer.public_key}\t{key}\t(none)\t{prefixes}\t0\t0\t0\t{peer.keepalive or 'off'}\n"


_TEXTS: dict[Format, Callable[[Iterable[Entry], _Left], Iterator[str]]] = {
    Format.JSONL: _jsonl,
    Format.CSV: _csv,
    Format.CONF: _conf,
    Format.DUMP: _dump,
}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file to write. It appears, or replaces an old file, only when all is written. Raises ConfigError."""
    if path == _DASH:
        yield sys.stdout
        return
    try:
        if path.exists() and not path.is_file():  # a pipe, a device
            with open(path, "w", encoding="utf-8") as file:
                yield file
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}") from None
