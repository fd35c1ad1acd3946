"""The handler of orders. The engine calls it for each record and for each batch."""

import asyncio
from datetime import datetime
from uuid import uuid4

import attrs
from asyncpg import Connection

from engine.handler import Statement
from engine.records import Batch, Record, Written
from engine.verdict import Rejected
from handlers.body import body_end, finish_body
from handlers.cache import versioned_trace
from handlers.cache_bookkeeping import PendingChange, note_change
from handlers.cache_writer import CacheBatch, CacheWriter
from handlers.model import SUBJECT_NAME
from handlers.order_log import log_batch
from handlers.order_writer import OrderWriter
from handlers.prepared import PreparedOrder, reader_of
from handlers.value_formats import JSON
from handlers.versions import WritePlan


class OrderHandler:
    """Decodes, validates and writes orders. After the commit it caches and logs them."""

    subject_name = SUBJECT_NAME

    def __init__(self, cache_writer: CacheWriter, value_format: str = JSON) -> None:
        self._read = reader_of(value_format)
        self._writer = OrderWriter()
        self._cache_writer = cache_writer

    def handle_message(self, record: Record) -> PreparedOrder | Rejected:
        """Return the order, prepared for writing, or all reasons why it is not valid."""
        return self._read(record.value)

    def subject(self, value: PreparedOrder) -> str | None:
        """Return the order's uid."""
        return value.order_uid

    def statement(self, batch: Batch[PreparedOrder]) -> tuple[Statement, Written] | None:
        """Return what writes a small batch of new orders. See `handlers.order_writer`."""
        found = self._writer.statement(batch)
        if found is None:
            return None
        statement, plan = found
        return statement, _written(batch, _FollowUp(plan, at_once=True))

    async def handle_batch(self, connection: Connection, batch: Batch[PreparedOrder]) -> Written:
        """Write the orders of the batch inside the open transaction. See `handlers.order_writer`."""
        plan = await self._writer.write(connection, batch)
        change = None
        if plan.changes:
            change = PendingChange(uuid4(), batch.batch_id, [write.candidate.uid for write in plan.changes])
            await note_change(connection, change)
        return _written(batch, _FollowUp(plan, change))

    async def batch_committed(self, batch: Batch[PreparedOrder], written: Written) -> None:
        """Cache the new and changed orders, and log every order of the batch."""
        follow_up: _FollowUp = written.follow_up
        if follow_up.at_once:
            self._writer.inserted()
        self._cache_writer.offer(_cached(batch, follow_up))
        try:
            await asyncio.sleep(0)  # the cache writer sends first, readers wait for that
        finally:
            log_batch(batch, written)


@attrs.frozen
class _FollowUp:
    """What was written, the note about its changes, and whether one statement wrote it."""

    plan: WritePlan[PreparedOrder]
    change: PendingChange | None = None
    at_once: bool = False


def _written(batch: Batch[PreparedOrder], follow_up: _FollowUp) -> Written:
    inserted, changed = len(follow_up.plan.inserts), len(follow_up.plan.changes)
    unchanged = len(batch.entries) - len(batch.rejected()) - inserted - changed
    return Written(inserted, changed, unchanged, follow_up)


def _cached(batch: Batch[PreparedOrder], follow_up: _FollowUp) -> CacheBatch:
    plan = follow_up.plan
    bodies, traces = [], []
    ends: dict[tuple[datetime, datetime], bytes] = {}
    for write in (*plan.inserts, *plan.changes):
        stored_at = (write.created_at, write.updated_at)
        if stored_at not in ends:
            ends[stored_at] = body_end(*stored_at)
        candidate = write.candidate
        body = finish_body(candidate.order.content, ends[stored_at])
        bodies.append((candidate.uid, body))
        if candidate.traceparent is not None:
            traces.append((candidate.uid, versioned_trace(body, candidate.traceparent)))
    return CacheBatch(batch.batch_id, bodies, traces, follow_up.change)
