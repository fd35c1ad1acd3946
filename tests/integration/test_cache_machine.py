"""The versioned cache on real Redis and PostgreSQL: late, repeated, reordered and lost writes, in any order."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import attrs
import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lookup.orders.guarded_cache import GuardedCache
from redis.asyncio import Redis

from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.postgres.link import Link
from handlers.cache import OrderCache
from handlers.cache_bookkeeping import PendingChange, note_change
from handlers.cache_servers import OneServer
from handlers.cache_writer import CacheBatch, CacheWriter
from handlers.catch_up import CatchUp
from handlers.reader import fetch_bodies
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options, redis_client
from orderflow.start.settings import Settings
from tests.support.stored_orders import make_order, store_order

T = TypeVar("T")
ORDERS = 3
TTL_S, NO_SUCH_KEY = 3600, -2
MACHINE = hypothesis.settings(max_examples=30, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
NUMBERS = st.integers(0, ORDERS - 1)
_CHANGE = """
UPDATE orders SET locale = $2, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE order_uid = ANY($1::text[])
"""
_LONG_AGO = "UPDATE cache_pending SET committed_at = clock_timestamp() - interval '1 minute' WHERE id = $1"


@attrs.define
class Stores:
    """PostgreSQL with a few orders, Redis, and those who write to the cache."""

    loop: asyncio.AbstractEventLoop
    postgres: asyncpg.Connection
    redis: Redis
    uids: list[str]
    cache: OrderCache
    writer: CacheWriter
    catch_up: CatchUp
    filler: GuardedCache

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self.loop.run_until_complete(work)

    def bodies(self, uids: list[str]) -> dict[str, bytes]:
        """Return what PostgreSQL holds."""
        return self.run(fetch_bodies(self.postgres, uids))


class CacheMachine(RuleBasedStateMachine):
    """Writers, readers with a fill in hand, and everything that befalls a cache.

    A value is lost (flushed, expired, damaged) only while nobody holds an older one in hand: a write that was held back
    while a newer value came and was lost again would stand until it expires.
    """

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.stores = stores

    @initialize()
    def begin(self) -> None:
        self.stores.run(self.stores.redis.flushdb())
        self.stores.run(self.stores.postgres.execute("DELETE FROM cache_pending"))
        bodies = self.stores.bodies(self.stores.uids)
        self.versions = {uid: [bodies[uid]] for uid in self.stores.uids}
        self.committed: list[CacheBatch] = []
        self.held: list[tuple[str, bytes]] = []
        self.seen = dict.fromkeys(self.stores.uids, -1)
        self.followed = dict.fromkeys(self.stores.uids, True)
        self.foreign: set[str] = set()
        self.changes = 0

    def newest(self, uid: str) -> bytes:
        return self.versions[uid][-1]

    def nobody_holds_an_older_one(self) -> bool:
        in_hand = [*self.held, *(pair for batch in self.committed for pair in batch.bodies)]
        return all(body == self.newest(uid) for uid, body in in_hand)

    def cached(self) -> dict[str, int]:
        """Return, for each order that is cached, which of its versions that is."""
        found = self.stores.run(self.stores.cache.get_many(self.stores.uids))
        assert all(body in self.versions[uid] for uid, body in found.items()), (
            "what is answered is whole, and of its order"
        )
        return {uid: self.versions[uid].index(body) for uid, body in found.items()}

    @rule(numbers=st.sets(NUMBERS, min_size=1))
    def change(self, numbers: set[int]) -> None:
        """Commit a change of some orders, as a worker does; it then has their bodies in hand."""
        change = PendingChange(uuid4(), uuid4(), [self.stores.uids[number] for number in sorted(numbers)])
        uids = change.order_uids
        self.changes += 1
        self.stores.run(self.stores.postgres.execute(_CHANGE, uids, str(self.changes)))
        self.stores.run(note_change(self.stores.postgres, change))
        self.stores.run(self.stores.postgres.execute(_LONG_AGO, change.id))
        bodies = self.stores.bodies(uids)
        for uid in uids:
            self.versions[uid].append(bodies[uid])
            self.followed[uid] = False
        self.committed.append(CacheBatch(change.batch_id, list(bodies.items()), change=change))

    @precondition(lambda self: self.committed)
    @rule(data=st.data(), again=st.booleans(), dies=st.booleans())
    def write(self, data: st.DataObject, again: bool, dies: bool) -> None:
        """Bring batches into the cache, in any order, perhaps again later, perhaps without living to mark them."""
        order = data.draw(st.permutations(range(len(self.committed))))
        count = data.draw(st.integers(1, len(order)))
        batches = [self.committed[place] for place in order[:count]]
        if dies:
            self.stores.run(self.stores.cache.put_many([pair for batch in batches for pair in batch.bodies]))
        else:
            self.stores.run(self.stores.writer._handle(batches))
        if not again:
            self.committed = [batch for batch in self.committed if batch not in batches]
        self.note([pair for batch in batches for pair in batch.bodies])

    def note(self, written: list[tuple[str, bytes]]) -> None:
        """See that the newest versions among those that were written are cached. From now on nothing older may be."""
        cached = self.cached()
        for uid, body in written:
            if body == self.newest(uid):
                self.followed[uid] = True
                assert uid in self.foreign or cached.get(uid) == len(self.versions[uid]) - 1

    @precondition(lambda self: self.committed)
    @rule()
    def die(self) -> None:
        """A worker dies between its commits and its cache."""
        self.committed.clear()

    @rule(number=NUMBERS)
    def read(self, number: int) -> None:
        """A reader reads an order from PostgreSQL, and is slow to fill it into the cache."""
        uid = self.stores.uids[number]
        self.held += self.stores.bodies([uid]).items()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), again=st.booleans())
    def fill(self, data: st.DataObject, again: bool) -> None:
        pairs = data.draw(st.lists(st.sampled_from(self.held), min_size=1, max_size=3))
        self.stores.run(self.stores.filler.put_many(pairs))
        if not again:
            self.held = [pair for pair in self.held if pair not in pairs]
        self.note(pairs)

    @precondition(nobody_holds_an_older_one)
    @rule(numbers=st.sets(NUMBERS))
    def lose(self, numbers: set[int]) -> None:
        """Values expire or are evicted; the whole database is flushed."""
        keys = [f"order:{self.stores.uids[number]}" for number in numbers]
        self.stores.run(self.stores.redis.delete(*keys) if keys else self.stores.redis.flushdb())
        self.forget([self.stores.uids[number] for number in numbers] or self.stores.uids)

    def forget(self, uids: list[str]) -> None:
        """Expect nothing of what was cached."""
        self.seen |= dict.fromkeys(uids, -1)
        self.foreign.difference_update(uids)

    @precondition(nobody_holds_an_older_one)
    @rule(
        number=NUMBERS,
        other=NUMBERS,
        how=st.sampled_from(["front", "back", "end", "bytes", "other"]),
        percent=st.integers(0, 99),
        garbage=st.sampled_from([b"", b"{}", b"\xff" * 100]) | st.binary(max_size=80),
        mended=st.booleans(),
    )
    def damage(self, number: int, other: int, how: str, percent: int, garbage: bytes, mended: bool) -> None:
        """A value loses its front or its back, or is replaced by any bytes or by another order's; a fill mends it."""
        uid = self.stores.uids[number]
        body = self.newest(uid)
        cut = max(1, len(body) * percent // 100)
        value = {
            "front": body[cut:],
            "back": body[:-cut],
            "end": body[:-1] + b"~",
            "bytes": garbage,
            "other": self.newest(self.stores.uids[other]),
        }[how]
        self.stores.run(self.stores.redis.set(f"order:{uid}", value, ex=TTL_S))
        self.forget([uid])
        if how == "other":
            self.foreign.add(uid)  # it may carry a later version than this order ever had: it stands until it expires
        if mended:
            self.stores.run(self.stores.filler.put_many([(uid, body)]))
            self.note([(uid, body)])

    @precondition(nobody_holds_an_older_one)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """Redis comes back from an old snapshot. When that is noticed, nothing old is left."""
        for uid in self.stores.uids:
            old = data.draw(st.sampled_from(self.versions[uid]))
            self.stores.run(self.stores.redis.set(f"order:{uid}", old, ex=TTL_S))
        self.forget(self.stores.uids)
        self.stores.run(self.stores.postgres.execute("UPDATE cache_servers SET run_id = 'another'"))
        self.stores.run(self.stores.catch_up._recovery.recover())
        self.followed = dict.fromkeys(self.stores.uids, True)

    @rule()
    def catch_up(self) -> None:
        """Afterwards each order that is cached is cached in its newest version."""
        while self.stores.run(self.stores.catch_up.catch_up_page()):
            pass
        self.followed = dict.fromkeys(self.stores.uids, True)

    @invariant()
    def no_answer_goes_back(self) -> None:
        cached = self.cached()
        for uid, version in cached.items():
            assert version >= self.seen[uid], "an answer never goes back"
            assert not self.followed[uid] or version == len(self.versions[uid]) - 1, (
                "what was followed stays the newest"
            )
        self.seen |= cached

    @invariant()
    def every_answer_expires(self) -> None:
        pipeline = self.stores.redis.pipeline(transaction=False)
        for uid in self.stores.uids:
            pipeline.ttl(f"order:{uid}")
        for lasts_s in self.stores.run(pipeline.execute()):
            assert lasts_s == NO_SUCH_KEY or 0 <= lasts_s <= TTL_S


@contextmanager
def open_stores(settings: Settings) -> Iterator[Stores]:
    """Provide the stores on a loop of their own, with a few orders in PostgreSQL."""
    options = postgres_options(settings)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        postgres = loop.run_until_complete(asyncpg.connect(**options))
        redis = redis_client(settings, timeout_s=30)
        cache, write_link, catch_up_link = OrderCache(OneServer(redis), TTL_S), Link(options), Link(options)
        generator = OrderGenerator(seed=5)
        orders = [make_order(generator) for _ in range(ORDERS)]
        for order in orders:
            loop.run_until_complete(store_order(postgres, order))
        yield Stores(
            loop,
            postgres,
            redis,
            [order.order_uid for order in orders],
            cache,
            CacheWriter(cache, write_link, Status()),
            CatchUp(cache, catch_up_link, TTL_S, Identity("group", "orders", "worker")),
            GuardedCache(cache, deadline_s=30, probe_pause_s=30, check_s=30),
        )
        for link in (write_link, catch_up_link):
            loop.run_until_complete(link.close())
        loop.run_until_complete(redis.aclose())
        loop.run_until_complete(postgres.close(timeout=5))


def test_the_cache_never_goes_back_and_settles_on_the_newest(settings: Settings) -> None:
    """Every answer is whole, of its order and not older than the last one; what was followed stays the newest."""
    with open_stores(settings) as stores:
        run_state_machine_as_test(lambda: CacheMachine(stores), settings=MACHINE)
