"""Registers the peers that a reader found, a batch at a time. The calling code reports what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from wgjit.management.peer_readers import Chunk
from wgjit.model import Peer
from wgjit.stores.base import Load
from wgjit.stores.entries import Loaded


@dataclass(frozen=True, slots=True)
class Teller:
    """The functions that an import calls to report its progress."""

    refused: Callable[[int, object], None]
    """Gets the line of a refused peer, and the reason. If this raises, no peer of the batch is registered."""
    loaded: Callable[[Loaded], None]
    """Called after a batch is committed."""
    key_comment: Callable[[int], None] = lambda line: None
    """Gets the line of a comment that was not taken for a name, because there is a key in it."""
    read: Callable[[int], None] = lambda count: None
    """Gets the number of peers that were read since the last call."""
    writing: Callable[[int], None] = lambda count: None
    """Called when all is read, with the number of peers in the last batch."""


def _fine() -> None:
    """Allows every commit."""


def register(chunks: Iterable[Chunk], load: Load, batch: int, source: str, tell: Teller) -> None:
    """Register all peers of the chunks in one transaction, or `batch` peers in each. `source` is for the audit log.

    Raises StoreBusy, StoreError, and what the chunks' iterator and `tell` raise.
    """
    for chunk in chunks:
        stage(chunk, load, batch, source, tell)
    finish(load, source, tell)


def stage(
    chunk: Chunk, load: Load, batch: int, source: str, tell: Teller, before_commit: Callable[[], None] = _fine
) -> None:
    """Take one chunk of an import, and register each full batch.

    Raises StoreBusy, StoreError, and what `tell` and `before_commit` raise.
    """
    for line, what in chunk.bad:
        tell.refused(line, what)
    for line in chunk.key_comments:
        tell.key_comment(line)
    for part in _parts(chunk, batch, load):
        if part.plain:
            load.plain(part.plain_lines, part.plain, unlabelled=part.unlabelled)
        if part.peers:
            load.peers(part.peers, part.labels)
        if batch and load.staged >= batch:
            before_commit()
            tell.loaded(load.commit(tell.refused, source))
    tell.read(chunk.count)


def finish(load: Load, source: str, tell: Teller) -> None:
    """Register the last batch. Raises as `stage` does."""
    tell.writing(load.staged)
    tell.loaded(load.commit(tell.refused, source))


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
