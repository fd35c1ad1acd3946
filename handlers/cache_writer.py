"""Writes committed batches to the cache. All waiting batches are written together, and ingest never waits for this.

If a new order is not cached, lookups read it from PostgreSQL. Changed orders must be written to the cache, because it
may have an old version: they are noted (`handlers.cache_bookkeeping`), and `handlers.catch_up` processes old notes.
"""

import time
from uuid import UUID

import attrs
import structlog
from redis.exceptions import RedisError

from engine.actors import failpoints
from engine.actors.actor import BatchActor
from engine.actors.mailbox import MailboxClosed
from engine.actors.status import Status
from engine.postgres.errors import ERRORS, describe
from engine.postgres.link import Link
from engine.telemetry import events
from handlers.cache import OrderCache
from handlers.cache_bookkeeping import PendingChange, mark_followed
from handlers.events import CACHE_FULL

MAX_ORDERS_A_ROUND = 2000
MAX_ORDERS_WAITING = 8000
MAX_BYTES_WAITING = 32 * 1024 * 1024
RETRY_S = 1.0
MARK_DEADLINE_S = 10.0


@attrs.frozen
class CacheBatch:
    """The `(uid, body)` pairs of one committed batch, and the `(uid, versioned_trace)` pairs of those with a trace.

    `change` is the note about the changed orders of the batch. None if no order was changed.
    """

    batch_id: UUID
    bodies: list[tuple[str, bytes]]
    traces: list[tuple[str, bytes]] = attrs.field(factory=list)
    change: PendingChange | None = None


class CacheWriter:
    """Writes bodies to Redis, and then deletes the notes about the changed orders."""

    def __init__(self, cache: OrderCache, link: Link, status: Status) -> None:
        self._cache = cache
        self._link = link
        self._status = status
        self._retry_at = 0.0
        self._full = False
        self._marked: UUID | None = None
        self._log = structlog.get_logger()
        self._actor: BatchActor[CacheBatch] = BatchActor(
            "cache-writer",
            self._handle,
            max_items=MAX_ORDERS_A_ROUND,
            capacity_items=MAX_ORDERS_WAITING,
            capacity_weight=MAX_BYTES_WAITING,
        )

    def start(self) -> None:
        """Start the actor."""
        self._actor.start()

    def offer(self, batch: CacheBatch) -> bool:
        """Accept a batch if there is room. Returns whether it was accepted. Never waits, never raises."""
        weight = sum(len(body) for _, body in batch.bodies)
        try:
            return self._actor.put_nowait(batch, weight, max(1, len(batch.bodies)))
        except MailboxClosed:
            return False

    async def wait(self) -> None:
        """Wait until the actor has ended. Raises the error that ended it."""
        await self._actor.wait()

    async def stop(self, deadline_s: float) -> bool:
        """Write the waiting batches within `deadline_s` seconds, then close. Returns whether all were written."""
        finished = await self._actor.stop(deadline_s)
        await self._link.close()
        return finished

    async def _handle(self, batches: list[CacheBatch]) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            refused = await self._cache.put_many(
                [pair for batch in batches for pair in batch.bodies],
                [pair for batch in batches for pair in batch.traces],
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._retry_at = time.monotonic() + RETRY_S
            if "redis" not in self._status.outages:
                self._log.warning(events.OUTAGE_STARTED, of="redis", error=type(error).__name__)
            self._status.outage("redis", 1)
            return
        failpoints.reach(failpoints.AFTER_CACHE_WRITE)
        if self._status.recovered("redis"):
            self._log.info(events.OUTAGE_ENDED, of="redis")
        if refused and not self._full:
            self._log.warning(
                CACHE_FULL, orders=refused, fix="give Redis more memory, or a maxmemory-policy that evicts"
            )
        self._full = refused > 0
        self._status.counters.cached += sum(len(batch.bodies) for batch in batches) - refused
        await self._mark(batches)

    async def _mark(self, batches: list[CacheBatch]) -> None:
        """Delete the notes and mark the batches as cached. Small batches share an id, which is marked once."""
        notes = [batch.change.id for batch in batches if batch.change is not None]
        ids = {batch.batch_id for batch in batches} - {self._marked}
        if not notes and not ids:
            return
        try:
            async with self._link.use() as connection:
                await mark_followed(connection, notes, list(ids), MARK_DEADLINE_S)
            self._marked = batches[-1].batch_id
        except ERRORS as error:
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error))
