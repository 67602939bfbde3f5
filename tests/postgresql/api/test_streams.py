"""What tests/unit/api/test_streams.py holds the API to on a file, on a database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg

from lab.registry import LAB, LabPostgres
from tests.contracts.store import key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.taken import taken
from tests.unit.api import test_streams
from wgjit.api.changes import Follower, Reset
from wgjit.api.entrance.threads import Threads
from wgjit.api.registries import Registries
from wgjit.stores.opening import Where

OF_THE_FILE = (
    "test_all_listeners_share_one_look_at_the_log",
    "test_a_listener_that_takes_its_time_misses_nothing_and_nothing_waits_for_it",
    "test_another_file_in_its_place_is_a_reset",
    "test_a_client_that_takes_nothing_is_let_go_and_nothing_is_kept_for_it",
)

globals().update({name: value for name, value in taken(test_streams, OF_THE_FILE).items() if name != "registry"})


@contextlib.asynccontextmanager
async def following(url: str) -> AsyncIterator[Follower]:
    with contextlib.closing(Registries(Where(url))) as registries:
        follower = Follower(registries, Threads(), poll=0.001)
        async with test_streams.polling(follower):
            yield follower


def test_a_change_that_commits_late_is_told_in_its_turn(registry: LabPostgres, url: str) -> None:
    """Numbers are given at commit, so none is skipped by a stream that was ahead of a slow transaction."""
    registry.add([peer(number) for number in (1, 2, 3)])

    async def main() -> None:
        with psycopg.connect(url) as slow:
            async with following(url) as follower:
                slow.execute("UPDATE wgjit.peers SET keepalive = 5 WHERE public_key = %s", (key(1),))
                stream = follower.follow(0)
                registry.replace(peer(2, name="two"))
                page = await anext(stream)
                assert not isinstance(page, Reset)
                assert [(change.sequence, change.public_key) for change in page] == [(1, key(2))]
                slow.commit()
                page = await anext(stream)
                assert not isinstance(page, Reset)
                assert [(change.sequence, change.public_key) for change in page] == [(2, key(1))]

    asyncio.run(main())


def test_another_registry_in_its_place_is_a_reset(registry: LabPostgres, url: str, shell: Shell) -> None:
    registry.add([peer(1)])
    registry.replace(peer(1, name="one"))

    async def main() -> None:
        with contextlib.closing(Registries(Where(url))) as registries:
            follower = Follower(registries, Threads(), poll=0.001)
            stream = follower.follow(0)
            await anext(stream)
            shell.execute("UPDATE meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity'")
            async with test_streams.polling(follower):
                assert await anext(stream) == Reset(1)
                registry.peers.remove_all([key(1)], by=LAB)
                page = await anext(stream)
                assert not isinstance(page, Reset)
                assert [change.sequence for change in page] == [2]

    asyncio.run(main())
