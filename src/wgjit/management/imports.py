"""Bring the peers that a reader found into a registry, a batch at a time; telling what happens is the caller's part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from wgjit.management.peer_readers import Chunk
from wgjit.model import Peer
from wgjit.stores.bulk import BulkLoad, Loaded


def register(
    chunks: Iterable[Chunk],
    load: BulkLoad,
    batch: int,
    refused: Callable[[int, object], None],
    loaded: Callable[[Loaded], None],
    *,
    read: Callable[[int], None] = lambda count: None,
    writing: Callable[[int], None] = lambda count: None,
) -> None:
    """Register all peers of the chunks: in one transaction, or (`batch`) so many in each.

    `refused` is told the line of what is not registered, and why; if it raises, nothing of the batch is. `loaded` is
    told of each batch that is through, `read` how many more were read, `writing` how many the last batch has. Raises
    what they raise, and InvalidValue, StoreBusy, StoreError.
    """
    for chunk in chunks:
        for line, what in chunk.bad:
            refused(line, what)
        for part in _parts(chunk, batch, load):
            if part.plain:
                load.plain(part.plain_lines, part.plain, unlabelled=part.unlabelled)
            if part.peers:
                load.peers(part.peers, part.labels)
            if batch and load.staged >= batch:
                loaded(load.commit(refused))
        read(chunk.count)
    writing(load.staged)
    loaded(load.commit(refused))


def _parts(chunk: Chunk, batch: int, load: BulkLoad) -> Iterator[Chunk]:
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
