"""Writes a batch of orders to PostgreSQL, inside the engine's transaction.

By default all orders are inserted with COPY. If an order is already stored, COPY fails and the batch is written again:
stored orders are read and locked first, changed orders are deleted with their items, and then COPY inserts the changed
and the new orders. The next batches also read stored orders first, until a batch has none. So when many messages are
repeated, batches are not written twice.

A small batch of new orders is one statement (`handlers.small_batch`). If PostgreSQL refuses it, stored orders are read
first, too.

Which constraint COPY violates does not matter, because its name differs from database to database: a partition's
primary key has a name of its own. If COPY fails although the stored orders were read first, either another worker has
stored an order since then, and the next try reads it, or another unique index refuses the orders.
"""

from datetime import UTC, datetime
from uuid import UUID

from asyncpg import Connection, UniqueViolationError

from engine.handler import RewriteBatch, Statement
from engine.records import Batch, Origin, ms_of, time_of
from engine.telemetry.trace_context import traceparent_of
from handlers.body import render_time
from handlers.copy_format import copy_rows, escaped_fields, time_field
from handlers.fields import TABLES
from handlers.prepared import PreparedOrder
from handlers.small_batch import BYTES, insert_statement
from handlers.versions import UNKNOWN_TOPIC, Candidate, Stored, Write, WritePlan, latest_of_each, plan_writes

# Rows are locked in uid order, so that two writers with the same orders wait for each other and do not deadlock.
# Orders that were written before the column source_topic existed have no topic. Such an order counts as one of the
# consumed topic if that topic's partition was already consumed at that time, and if the order's batch has that topic,
# or is deleted and no other topic was consumed then. Otherwise its topic is unknown.
_KNOWN = f"""
SELECT order_uid, source_partition, source_offset, source_epoch, produced_at, content_digest, created_at, updated_at,
       CASE WHEN source_topic IS NOT NULL THEN source_topic
            WHEN source_partition = ANY(ARRAY(
                     SELECT o.partition FROM consumed_offsets o WHERE o.topic = $2 AND o.predates_source_topic))
                 AND coalesce(
                     (SELECT b.topic = $2 FROM batches b WHERE b.batch_id = orders.batch_id),
                     NOT EXISTS (SELECT FROM consumed_offsets o WHERE o.topic <> $2 AND o.predates_source_topic
                                 AND o.partition = source_partition)) THEN $2
            ELSE '{UNKNOWN_TOPIC}' END AS source_topic
FROM orders WHERE order_uid = ANY($1::text[]) ORDER BY order_uid FOR UPDATE
"""
_DELETE = "DELETE FROM orders WHERE order_uid = ANY($1::text[])"
_MOVE_SOURCE = """
UPDATE orders SET source_topic = new.topic, source_partition = new.partition, source_offset = new.kafka_offset,
                  source_epoch = new.epoch, produced_at = new.produced_at
FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::int[], $6::timestamptz[])
     AS new (order_uid, topic, partition, kafka_offset, epoch, produced_at)
WHERE orders.order_uid = new.order_uid
"""
_COLUMNS = {table: [column.name for column in columns] for table, columns in TABLES.items()}
_Read = tuple[frozenset[str], frozenset[str]]
"""The uids of a batch, and those of its orders that were stored when they were read."""


class OrderWriter:
    """Writes batches one at a time. It remembers whether the last batch had orders that were already stored."""

    def __init__(self) -> None:
        self._expect_repeats = False
        self._conflicting: _Read | None = None

    def statement(self, batch: Batch[PreparedOrder]) -> tuple[Statement, WritePlan[PreparedOrder]] | None:
        """Return what writes a small batch of new orders, or None if `write` has to.

        The statement counts as refused until `inserted` is called: then `write` reads the stored orders first.
        """
        if self._expect_repeats or sum(len(order.content) for _, order in batch.accepted()) > BYTES:
            return None
        now = datetime.now(UTC)
        plan = plan_writes(latest_of_each(_candidates(batch)), {}, now)
        self._expect_repeats = True
        return insert_statement(plan.inserts, batch.topic, batch.batch_id, now), plan

    def inserted(self) -> None:
        """Note that the statement was committed."""
        self._expect_repeats = False

    async def write(self, connection: Connection, batch: Batch[PreparedOrder]) -> WritePlan[PreparedOrder]:
        """Write the accepted orders of `batch`. Returns the inserts and changes that were written.

        Raises `RewriteBatch` if COPY fails because an order is already stored, `UniqueViolationError` if another unique
        index refuses the orders.
        """
        candidates = _candidates(batch)
        stored: dict[str, Stored] = {}
        was_read = self._expect_repeats
        if was_read and candidates:
            stored = await self._stored(connection, candidates, batch.topic)
        if candidates:
            self._expect_repeats = bool(stored)
        plan = plan_writes(latest_of_each(candidates, stored), stored, datetime.now(UTC))
        if plan.changes:
            await connection.execute(_DELETE, [write.candidate.uid for write in plan.changes])
        if plan.unchanged:
            await self._move_sources(connection, plan.unchanged)
        if writes := plan.writes():
            try:
                rows = _order_rows(writes, batch.batch_id)
                await copy_rows(connection, "orders", _COLUMNS["orders"], rows)
            except UniqueViolationError:
                if was_read and self._failed_before((frozenset(one.uid for one in candidates), frozenset(stored))):
                    raise
                self._expect_repeats = True
                raise RewriteBatch from None
            items = [write.candidate.order.item_rows for write in writes]
            await copy_rows(connection, "order_items", _COLUMNS["order_items"], items)
        return plan

    def _failed_before(self, read: _Read) -> bool:
        """Return whether the same orders failed with the same stored ones before: then no other worker stored any."""
        failed_before = self._conflicting == read
        self._conflicting = None if failed_before else read
        return failed_before

    async def _stored(
        self, connection: Connection, candidates: list[Candidate[PreparedOrder]], topic: str
    ) -> dict[str, Stored]:
        rows = await connection.fetch(_KNOWN, [candidate.uid for candidate in candidates], topic)
        return {
            row["order_uid"]: Stored(
                Origin(
                    row["source_topic"],
                    row["source_partition"],
                    row["source_offset"],
                    ms_of(row["produced_at"]),
                    row["source_epoch"],
                ),
                row["content_digest"],
                row["created_at"],
                row["updated_at"],
            )
            for row in rows
        }

    async def _move_sources(self, connection: Connection, unchanged: list[Candidate[PreparedOrder]]) -> None:
        await connection.execute(
            _MOVE_SOURCE,
            [candidate.uid for candidate in unchanged],
            [candidate.source.topic for candidate in unchanged],
            [candidate.source.partition for candidate in unchanged],
            [candidate.source.offset for candidate in unchanged],
            [candidate.source.epoch for candidate in unchanged],
            [time_of(candidate.source.timestamp) for candidate in unchanged],
        )


def _candidates(batch: Batch[PreparedOrder]) -> list[Candidate[PreparedOrder]]:
    return [
        Candidate(order.order_uid, batch.origin_of(record), order.content_digest, order, traceparent_of(record))
        for record, order in batch.accepted()
    ]


def _order_rows(writes: list[Write[PreparedOrder]], batch_id: UUID) -> list[bytes]:
    """Return the pieces of the rows: the prepared columns, then the source, the batch, the times and the trace."""
    rows: list[bytes] = []
    places: dict[tuple[str, int, int], bytes] = {}
    times: dict[tuple[datetime, datetime], bytes] = {}
    for write in writes:
        candidate = write.candidate
        source, traceparent = candidate.source, candidate.traceparent
        place = (source.topic, source.partition, source.epoch)
        if place not in places:
            places[place] = b",%b," % escaped_fields(place)
        stored_at = (write.created_at, write.updated_at)
        if stored_at not in times:  # most are inserts, made now
            times[stored_at] = b",%b," % escaped_fields([str(batch_id), *map(render_time, stored_at)])
        rows += (
            candidate.order.order_row,
            places[place],
            b"%d,%b" % (source.offset, time_field(source.timestamp)),
            times[stored_at],
            b"null\n" if traceparent is None else b'"%b"\n' % traceparent.encode(),
        )
    return rows
