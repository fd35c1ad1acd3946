"""Finds orders: all waiting lookups share one MGET, and the misses share one SELECT.

    find ─► cache reader ── hit ──► answer
                 └─ miss ─► store reader ──► answer
                                 └─► cache filler (versioned; no lookup waits for it)

The two readers are separate actors, so that a slow PostgreSQL never delays a cached order.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from engine.actors.actor import BatchActor
from engine.actors.mailbox import MailboxClosed
from engine.telemetry.trace_context import Traceparent
from handlers.body import Bodies
from handlers.cache import versioned_trace
from lookup.orders.guarded_cache import GuardedCache
from lookup.orders.store import OrderStore
from lookup.serving.options import LookupOptions
from lookup.serving.store_reader import StoresUnavailable


@attrs.frozen
class LookupResult:
    """The result of a lookup: the body, or None when PostgreSQL has no such order; and whether Redis had it.

    `traceparent` is the traceparent of the order's message, or None if the message had none.
    """

    body: bytes | None
    cached: bool
    traceparent: Traceparent | None = None


class FindOrder(Protocol):
    """A request for the order with this uid: a message to the readers, who call `answer` or `fail` once."""

    @property
    def order_uid(self) -> str:
        """The uid."""

    def done(self) -> bool:
        """Return whether nobody waits for the order any more: it was answered, has failed, or was given up."""

    def answer(self, body: bytes | None, traceparent: Traceparent | None, *, cached: bool) -> None:
        """Take the result, as `LookupResult` describes it. Does not raise."""

    def fail(self, error: Exception) -> None:
        """Take the reason why there is no result. Does not raise."""


@attrs.frozen(eq=False)
class AwaitOrder:
    """A request whose caller waits for a future."""

    order_uid: str
    result: "asyncio.Future[LookupResult]"

    def done(self) -> bool:
        """See `FindOrder`."""
        return self.result.done()

    def answer(self, body: bytes | None, traceparent: Traceparent | None, *, cached: bool) -> None:
        """See `FindOrder`."""
        self.result.set_result(LookupResult(body, cached, traceparent))

    def fail(self, error: Exception) -> None:
        """See `FindOrder`."""
        self.result.set_exception(error)


@attrs.frozen(eq=False)
class ReadOrder:
    """A lookup that missed the cache. `fills_done` is the number of cache fills that had ended by then."""

    lookup: FindOrder
    fills_done: int


@attrs.frozen(eq=False)
class FillOrder:
    """A body that was read from PostgreSQL, to be put into the cache. `done` is set after the attempt."""

    order_uid: str
    body: bytes
    traceparent: Traceparent | None
    done: "asyncio.Future[None]"


class OrderLookup:
    """Answers lookups from Redis, else from PostgreSQL."""

    def __init__(self, cache: GuardedCache, store: OrderStore, options: LookupOptions) -> None:
        self._cache = cache
        self._store = store
        self._deadline_s = options.lookup_deadline_s
        self._fill_deadline_s = options.cache_deadline_s
        limits = {"max_items": options.batch_max_orders, "capacity_items": options.waiting_max_orders}
        self._cache_reader: BatchActor[FindOrder] = BatchActor("cache-reader", self._read_cache, **limits)
        self._store_reader: BatchActor[ReadOrder] = BatchActor("store-reader", self._read_store, **limits)
        self._cache_filler: BatchActor[FillOrder] = BatchActor(
            "cache-filler", self._fill_cache, **limits, capacity_weight=options.fill_max_bytes
        )
        self._filling: dict[str, asyncio.Future[None]] = {}
        self._fills_done = 0
        self._watches: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start the actors. Starting twice is fine."""
        for actor in (self._cache_filler, self._store_reader, self._cache_reader):
            actor.start()
            if actor.name not in self._watches:
                self._watches[actor.name] = asyncio.create_task(actor.wait(), name=f"{actor.name}-watch")

    @property
    def alive(self) -> bool:
        """Whether every actor runs. An actor ends when it meets a defect, and then nothing reads its mailbox."""
        return bool(self._watches) and not any(watch.done() for watch in self._watches.values())

    async def stop(self, deadline_s: float) -> None:
        """Answer the waiting lookups, then stop, within `deadline_s` seconds."""
        deadline = asyncio.get_running_loop().time() + deadline_s
        for actor in (self._cache_reader, self._store_reader, self._cache_filler):
            await actor.stop(deadline - asyncio.get_running_loop().time())
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    async def find(self, order_uid: str) -> LookupResult:
        """Return the order as it is stored now. Raises `StoresUnavailable`, at the latest at the deadline."""
        lookup = AwaitOrder(order_uid, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._cache_reader.put(lookup)
                return await lookup.result
        except (TimeoutError, MailboxClosed):
            raise StoresUnavailable from None

    def ask(self, lookup: FindOrder) -> bool:
        """Look an order up for a caller who keeps the deadline. Returns False if too many wait, or at the end."""
        try:
            return self._cache_reader.put_nowait(lookup)
        except MailboxClosed:
            return False

    async def _read_cache(self, lookups: list[FindOrder]) -> None:
        fills_done = self._fills_done
        bodies = await self._cache.get_many(_uids(lookups))
        missed = _answer_from(lookups, bodies, cached=True)
        _fail([lookup for lookup in missed if not self._pass_on(ReadOrder(lookup, fills_done))], StoresUnavailable())

    def _pass_on(self, message: ReadOrder) -> bool:
        try:
            return self._store_reader.put_nowait(message)
        except MailboxClosed:
            return False

    async def _read_store(self, messages: list[ReadOrder]) -> None:
        lookups = await self._answer_from_new_fills(messages)
        uids = _uids(lookups)
        if not uids:
            return
        try:
            bodies = await self._store.read_many(uids)
        except Exception as error:
            if isinstance(error, StoresUnavailable) or len(uids) == 1:
                _fail(lookups, error)
                return
            # One unreadable order must not fail the others: read each of them alone.
            for uid in uids:
                await self._read_store([message for message in messages if message.lookup.order_uid == uid])
            return
        for lookup in _answer_from(lookups, bodies, cached=False):
            lookup.answer(None, None, cached=False)
        for uid, body in bodies.items():
            self._fill_later(uid, body, bodies.traces.get(uid))

    async def _answer_from_new_fills(self, messages: list[ReadOrder]) -> list[FindOrder]:
        """Answer lookups whose order another lookup has put into the cache since they missed it; return all lookups.

        With this, hundreds of lookups of one uncached order need one query. A body that was read before a lookup
        began must not answer it: the caller may know of a newer version. So the cache is read again.
        """
        lookups = [message.lookup for message in messages]
        late = [
            message.lookup
            for message in messages
            if message.lookup.order_uid in self._filling or message.fills_done != self._fills_done
        ]
        uids = _uids(late)
        if not uids or not self._cache.available:
            return lookups
        fills = {self._filling[uid] for uid in uids if uid in self._filling}
        if fills:
            await asyncio.wait(fills, timeout=self._fill_deadline_s)
        _answer_from(late, await self._cache.get_many(uids), cached=True)
        return lookups

    def _fill_later(self, order_uid: str, body: bytes, traceparent: Traceparent | None) -> None:
        if not self._cache.available:
            return
        message = FillOrder(order_uid, body, traceparent, asyncio.get_running_loop().create_future())
        try:
            taken = self._cache_filler.put_nowait(message, len(body))
        except MailboxClosed:
            return
        if taken:
            self._filling[order_uid] = message.done

    async def _fill_cache(self, messages: list[FillOrder]) -> None:
        try:
            await self._cache.put_many(
                [(message.order_uid, message.body) for message in messages],
                [
                    (message.order_uid, versioned_trace(message.body, message.traceparent))
                    for message in messages
                    if message.traceparent is not None
                ],
            )
        finally:
            self._fills_done += 1
            for message in messages:
                if self._filling.get(message.order_uid) is message.done:
                    del self._filling[message.order_uid]
                message.done.set_result(None)


def _uids(lookups: Iterable[FindOrder]) -> list[str]:
    """Return the distinct uids of the lookups that still wait."""
    return list({lookup.order_uid: None for lookup in lookups if not lookup.done()})


def _answer_from(lookups: Sequence[FindOrder], bodies: Bodies, *, cached: bool) -> list[FindOrder]:
    """Answer the lookups whose body is in `bodies`; return the lookups that still wait."""
    waiting = []
    for lookup in lookups:
        if lookup.done():
            continue
        body = bodies.get(lookup.order_uid)
        if body is None:
            waiting.append(lookup)
        else:
            lookup.answer(body, bodies.traces.get(lookup.order_uid), cached=cached)
    return waiting


def _fail(lookups: Iterable[FindOrder], error: Exception) -> None:
    """Let every lookup that still waits raise `error`."""
    for lookup in lookups:
        if not lookup.done():
            lookup.fail(error)
