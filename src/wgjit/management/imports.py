"""Bring the peers that a reader found into a registry, a batch at a time; telling what happens is the caller's part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from wgjit.management.peer_readers import Chunk
from wgjit.model import Peer
from wgjit.stores.base import Load
from wgjit.stores.entries import Loaded


@dataclass(frozen=True, slots=True)
class Teller:
    """Whom an import tells how it goes."""

    refused: Callable[[int, object], None]
    """The line of a peer that is not registered, and why. If it raises, nothing of the batch is registered."""
    loaded: Callable[[Loaded], None]
    """A batch is through."""
    key_comment: Callable[[int], None] = lambda line: None
    """The line of a comment that was not taken for a name, since a key stands in it."""
    read: Callable[[int], None] = lambda count: None
    """So many more were read."""
    writing: Callable[[int], None] = lambda count: None
    """All is read; the last batch has so many."""


def _fine() -> None:
    """Nothing is said against it."""


def register(chunks: Iterable[Chunk], load: Load, batch: int, source: str, tell: Teller) -> None:
    """Register all peers of the chunks: in one transaction, or (`batch`) so many in each. `source` is for the log.

    Raises what reading them and `tell` raise, and StoreBusy, StoreError.
    """
    for chunk in chunks:
        stage(chunk, load, batch, source, tell)
    finish(load, source, tell)


def stage(
    chunk: Chunk, load: Load, batch: int, source: str, tell: Teller, before_commit: Callable[[], None] = _fine
) -> None:
    """Take in one chunk of an import, and register each batch that is full.

    Raises what `tell` and `before_commit` raise, and StoreBusy, StoreError.
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
    """The chunk, cut so that a batch is full when its last part is in."""
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
