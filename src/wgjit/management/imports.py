"""Registers the peers that a reader found, a batch at a time. The calling code reports what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from wgjit.errors import InvalidValue
from wgjit.management.own import Own
from wgjit.management.peer_readers import Chunk
from wgjit.model import Peer, PublicKey
from wgjit.stores.base import Load
from wgjit.stores.entries import Loaded, Loading, allowed


@dataclass(frozen=True, slots=True)
class Teller:
    """The functions that an import calls to report its progress."""

    refused: Callable[[int, object], None]
    """Gets the line of a refused peer, and the reason. If this raises, no peer of the batch is registered."""
    loaded: Callable[[Loaded], None]
    """Called after a batch is committed."""
    key_comment: Callable[[int], None] = lambda line: None
    """Gets the line of a comment that was not taken for a name, because there is a key in it."""
    name_left: Callable[[int, str], None] = lambda line, why: None
    """Gets the line of a peer whose guessed name was left out, and why."""
    note: Callable[[str], None] = lambda text: None
    """Gets what a person should know of the file as a whole."""
    settled: Callable[[], None] = allowed
    """Called before a batch is committed, when all its refused lines are told. If this raises, no peer of the batch is
    registered."""
    read: Callable[[int], None] = lambda count: None
    """Gets the number of peers that were read since the last call."""
    writing: Callable[[int], None] = lambda count: None
    """Called when all is read, with the number of peers in the last batch."""


class Import:
    """One file on its way into a registry: all its peers in one transaction, or `batch` peers in each.

    `source` is for the audit log. `own`: the gateway's own key and addresses, which no peer may have. `update`: names
    and labels are merged into registered peers.
    """

    def __init__(
        self, load: Load, batch: int, source: str, tell: Teller, *, own: Own | None = None, update: bool = False
    ) -> None:
        self._load = load
        self._batch = batch
        self._source = source
        self._tell = tell
        self._own = own or Own()
        self._update = update
        self._guessed = False

    def all(self, chunks: Iterable[Chunk]) -> None:
        """Register all peers. Raises StoreBusy, StoreError, and what the iterator and the teller raise."""
        for chunk in chunks:
            self.take(chunk)
        self.finish()

    def take(self, chunk: Chunk, before_commit: Callable[[], None] = allowed) -> None:
        """Take one chunk, and register each full batch.

        Raises StoreBusy, StoreError, and what the teller and `before_commit` raise.
        """
        if self._own:
            _refuse_own(chunk, self._own)
        self._guessed = self._guessed or chunk.guessed
        for line, what in chunk.bad:
            self._tell.refused(line, what)
        for line in chunk.key_comments:
            self._tell.key_comment(line)
        for text in chunk.notes:
            self._tell.note(text)
        load = self._load
        for part in _parts(chunk, self._batch, load):
            if part.plain:
                load.plain(part.plain_lines, part.plain, unlabelled=part.unlabelled)
            if part.peers:
                load.peers(part.peers, part.labels)
            if self._batch and load.staged >= self._batch:
                before_commit()
                self._commit()
        self._tell.read(chunk.count)

    def finish(self) -> None:
        """Register the last batch. Raises as `take` does."""
        self._tell.writing(self._load.staged)
        self._commit()

    def _commit(self) -> None:
        how = Loading(self._update, self._guessed, self._tell.name_left, self._tell.settled)
        self._tell.loaded(self._load.commit(self._tell.refused, self._source, how))


def _refuse_own(chunk: Chunk, own: Own) -> None:
    """Move peers with the gateway's own key or address to the chunk's bad lines."""
    if places := own.among(chunk.plain):
        for place in places:
            chunk.bad.append((chunk.plain_lines[place], _why(own, _plain_peer(chunk.plain[place]))))
        kept = sorted({*range(len(chunk.plain))} - {*places})
        chunk.plain_lines = [chunk.plain_lines[place] for place in kept]
        chunk.plain = [chunk.plain[place] for place in kept]
    kept_peers = []
    for line, peer in chunk.peers:
        if why := _why(own, peer):
            chunk.bad.append((line, why))
        else:
            kept_peers.append((line, peer))
    chunk.peers = kept_peers
    chunk.bad.sort(key=lambda each: each[0])


def _why(own: Own, peer: Peer) -> str:
    try:
        own.check(peer)
    except InvalidValue as error:
        return error.told
    return ""


def _plain_peer(record: bytes) -> Peer:
    return Peer(PublicKey(record[:32]), (IPv4Network((record[33:37], 32)),))


def _parts(chunk: Chunk, batch: int, load: Load) -> Iterator[Chunk]:
    """The chunk in parts, cut so that no part goes beyond the end of a batch."""
    if not batch or load.staged + chunk.count <= batch:
        yield chunk
        return
    every: list[tuple[int, bytes | object]] = [*zip(chunk.plain_lines, chunk.plain, strict=True), *chunk.peers]
    every.sort(key=lambda item: item[0])
    start = 0
    while start < len(every):
        some = every[start : start + batch - load.staged]
        start += len(some)
        part = Chunk(unlabelled=chunk.unlabelled, labels=chunk.labels)
        part.plain_lines = [line for line, value in some if isinstance(value, bytes)]
        part.plain = [value for _, value in some if isinstance(value, bytes)]
        part.peers = [(line, value) for line, value in some if isinstance(value, Peer)]
        yield part
