"""How lookups share reads, with stores that do as the test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import attrs
import pytest
from lookup.orders.guarded_cache import GuardedCache
from lookup.orders.lookup import LookupResult, OrderLookup
from lookup.orders.store import OrderStore
from lookup.serving.options import LookupOptions
from lookup.serving.store_reader import StoresUnavailable

from handlers.body import Bodies


class Cache:
    """A cache in memory. `gate` holds reads up, `filling` holds fills up, until they are set."""

    def __init__(self) -> None:
        self.available = True
        self.bodies: dict[str, bytes] = {}
        self.traces: dict[str, bytes] = {}
        self.reads: list[list[str]] = []
        self.gate, self.filling = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.filling.set()

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        self.reads.append(list(uids))
        await self.gate.wait()
        return Bodies({uid: self.bodies[uid] for uid in uids if uid in self.bodies})

    async def put_many(self, bodies: Sequence[tuple[str, bytes]], traces: Sequence[tuple[str, bytes]] = ()) -> None:
        await self.filling.wait()
        self.bodies.update(bodies)
        self.traces.update(traces)


class Store:
    """A store in memory. Uids in `unreadable` break the query that asks for them."""

    def __init__(self) -> None:
        self.available = True
        self.bodies: dict[str, bytes] = {}
        self.unreadable: set[str] = set()
        self.reads: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_many(self, uids: Sequence[str]) -> Bodies:
        self.reads.append(list(uids))
        snapshot = dict(self.bodies)
        await self.gate.wait()
        if not self.available:
            raise StoresUnavailable
        if self.unreadable.intersection(uids):
            raise ValueError
        return Bodies({uid: snapshot[uid] for uid in uids if uid in snapshot})


@asynccontextmanager
async def lookup_over(cache: Cache, store: Store, **changes: float) -> AsyncIterator[OrderLookup]:
    options = attrs.evolve(LookupOptions(ui_directory=Path(), cache_ttl_s=60), **changes)
    lookup = OrderLookup(cast("GuardedCache", cache), cast("OrderStore", store), options)
    lookup.start()
    try:
        yield lookup
    finally:
        cache.gate.set()
        cache.filling.set()
        store.gate.set()
        await lookup.stop(1)


async def turns(count: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_that_wait_share_one_read_of_each_store() -> None:
    """While one batch is being read the others gather, and go together."""
    cache, store = Cache(), Store()
    cache.bodies = {"hot": b"H"}
    store.bodies = {"cold": b"C"}
    cache.gate.clear()
    async with lookup_over(cache, store) as lookup:
        first = asyncio.create_task(lookup.find("hot"))
        await turns()
        later = [asyncio.create_task(lookup.find(uid)) for uid in ("hot", "cold", "none", "cold")]
        await turns()
        cache.gate.set()
        assert await first == LookupResult(b"H", cached=True)
        assert await asyncio.gather(*later) == [
            LookupResult(b"H", cached=True),
            LookupResult(b"C", cached=False),
            LookupResult(None, cached=False),
            LookupResult(b"C", cached=False),
        ]
        assert cache.reads == [["hot"], ["hot", "cold", "none"]]
        assert store.reads == [["cold", "none"]]


async def test_those_who_missed_during_a_read_wait_for_its_fill() -> None:
    """The second batch of a cold order is answered from the cache, not by a second query."""
    cache, store = Cache(), Store()
    store.bodies = {"cold": b"C"}
    store.gate.clear()
    cache.filling.clear()
    async with lookup_over(cache, store) as lookup:
        first = asyncio.create_task(lookup.find("cold"))
        await turns()
        second = asyncio.create_task(lookup.find("cold"))
        await turns()
        store.gate.set()
        assert await first == LookupResult(b"C", cached=False)
        await turns()
        assert not second.done()
        cache.filling.set()
        assert await second == LookupResult(b"C", cached=True)
        assert store.reads == [["cold"]]


async def test_a_fill_that_takes_too_long_is_not_waited_for() -> None:
    """Past the cache's deadline the order is read once more."""
    cache, store = Cache(), Store()
    store.bodies = {"cold": b"C"}
    cache.filling.clear()
    async with lookup_over(cache, store, cache_deadline_s=0.02) as lookup:
        assert (await lookup.find("cold")).body == b"C"
        assert await lookup.find("cold") == LookupResult(b"C", cached=False)
        assert store.reads == [["cold"], ["cold"]]


async def test_an_answer_is_never_older_than_the_question() -> None:
    """An order that changes while an older read of it is under way is answered in its new form to new callers."""
    cache, store = Cache(), Store()
    cache.available = False
    store.bodies = {"uid": b"old"}
    store.gate.clear()
    async with lookup_over(cache, store) as lookup:
        before = asyncio.create_task(lookup.find("uid"))
        await turns()
        store.bodies = {"uid": b"new"}
        after = asyncio.create_task(lookup.find("uid"))
        await turns()
        store.gate.set()
        assert ((await before).body, (await after).body) == (b"old", b"new")


async def test_an_order_that_cannot_be_read_fails_alone() -> None:
    """Its neighbours in the batch are answered."""
    cache, store = Cache(), Store()
    cache.gate.clear()
    store.bodies = {"good": b"G"}
    store.unreadable = {"bad"}
    async with lookup_over(cache, store) as lookup:
        waiting = [asyncio.create_task(lookup.find(uid)) for uid in ("first", "good", "bad", "none")]
        await turns()
        cache.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert results[1] == LookupResult(b"G", cached=False)
        assert isinstance(results[2], ValueError)
        assert results[3] == LookupResult(None, cached=False)
        assert await lookup.find("good")


async def test_an_outage_is_no_answer_about_the_order() -> None:
    """Whether it exists stays open; cached orders are answered all the same."""
    cache, store = Cache(), Store()
    cache.bodies = {"hot": b"H"}
    store.available = False
    async with lookup_over(cache, store) as lookup:
        with pytest.raises(StoresUnavailable):
            await lookup.find("cold")
        assert (await lookup.find("hot")).body == b"H"


async def test_waiting_ends_at_the_deadline() -> None:
    """A store that never answers does not hold a caller for ever, and cached orders pass it by."""
    cache, store = Cache(), Store()
    cache.bodies = {"hot": b"H"}
    store.gate.clear()
    async with lookup_over(cache, store, lookup_deadline_s=0.05) as lookup:
        cold = asyncio.create_task(lookup.find("cold"))
        await turns()
        assert (await lookup.find("hot")).body == b"H"
        with pytest.raises(StoresUnavailable):
            await cold


async def test_more_than_may_wait_is_refused() -> None:
    """The mailboxes are bounded: the rest is told to come again."""
    cache, store = Cache(), Store()
    store.gate.clear()
    async with lookup_over(cache, store, waiting_max_orders=5, lookup_deadline_s=5) as lookup:
        lookups = [asyncio.create_task(lookup.find(f"uid-{number}")) for number in range(50)]
        await turns(200)
        refused = [task for task in lookups if task.done() and isinstance(task.exception(), StoresUnavailable)]
        assert len(refused) >= 30
        store.gate.set()
        results = await asyncio.gather(*lookups, return_exceptions=True)
        assert {type(result) for result in results} == {LookupResult, StoresUnavailable}


async def test_a_caller_who_leaves_is_not_read_for() -> None:
    """What nobody waits for any more is dropped from the batch."""
    cache, store = Cache(), Store()
    cache.gate.clear()
    async with lookup_over(cache, store) as lookup:
        first = asyncio.create_task(lookup.find("first"))
        await turns()
        gone, stays = asyncio.create_task(lookup.find("gone")), asyncio.create_task(lookup.find("stays"))
        await turns()
        gone.cancel()
        await turns()
        cache.gate.set()
        await asyncio.gather(first, stays)
        assert cache.reads == [["first"], ["stays"]]


async def test_an_actor_that_met_a_defect_is_noticed() -> None:
    """A process whose readers have ended does not call itself alive."""
    cache, store = Cache(), Store()
    async with lookup_over(cache, store, lookup_deadline_s=0.05) as lookup:
        assert lookup.alive
        cache.bodies = cast("dict[str, bytes]", None)
        with pytest.raises(StoresUnavailable):
            await lookup.find("uid")
        assert not lookup.alive
