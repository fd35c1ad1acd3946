"""The table of batches: which worker stored which messages, when, and how many were inserted, changed or rejected.

Each batch has its own row, except small batches that follow each other quickly. They share one row and its id. The row
is written with the first batch and has its times. The counts of the other batches are added later.
"""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
from asyncpg import Connection
from msgspec import json

from engine.actors.identity import Identity
from engine.handler import Statement
from engine.postgres.bookkeeping import LOCALLY, local_transaction
from engine.postgres.errors import is_outage
from engine.postgres.link import Link
from engine.records import Batch, Written, by_partition

SHARED_S = 0.25
"""How long a row accepts more batches. A new row accepts any only if the last batch before it was within this time."""
SMALL = 100
"""The most messages of a batch that shares a row."""
FORGOTTEN_AT_ONCE = 1000
FORGET_EVERY_S = 60.0
DEADLINE_S = 5.0
"""The deadline of statements that are not part of a batch. A batch never waits longer for them."""
# All times are by the clock of PostgreSQL, so that they are comparable if a worker's clock is wrong. `worker_clock` is
# the time of `validated_at` by the worker's clock. Only workers of an older build read `cached_at`: for them NULL
# means that the batch is not cached yet.
_INSERT = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, consumed_at, validated_at, committed_at, cached_at,
                     worker_clock, ended_at, messages, inserted, changed, unchanged, rejected, sources)
SELECT $1, $7, $8, $9, $10, time.now - $11::interval, time.now - $12::interval, time.now, time.now,
       $13, CASE WHEN $13::timestamptz IS NOT NULL THEN 'infinity'::timestamptz END,
       $2, $3, $4, $5, $6, $14::text::jsonb
FROM (SELECT clock_timestamp() AS now) AS time
"""
_COMPLETE = """
UPDATE batches SET messages = $2, inserted = $3, changed = $4, unchanged = $5, rejected = $6,
                   sources = $7::text::jsonb, ended_at = clock_timestamp() - $8::interval
WHERE batch_id = $1
"""
_COMPLETE_ALONE = f"{_COMPLETE} AND {LOCALLY}"
# SKIP LOCKED: a locked row is in use. It is deleted later. A condition with clock_timestamp() could not use the index.
_FORGET = """
WITH old AS (
    SELECT batch_id FROM batches
    WHERE consumer_group = $1 AND topic = $2 AND committed_at < now() - make_interval(secs => $3)
    ORDER BY committed_at LIMIT $4 FOR UPDATE SKIP LOCKED
)
DELETE FROM batches USING old WHERE batches.batch_id = old.batch_id
"""


@attrs.define
class _Row:
    """A row that is or will be written. `began_s` and `ended_s` are by the clock of the event loop, in seconds.

    `counts` are the numbers of messages and of those inserted, changed, unchanged and rejected.
    """

    batch_id: UUID
    began_s: float
    shared: bool
    ended_s: float
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)
    sources: dict[tuple[int, int], dict[str, int]] = attrs.field(factory=dict)
    complete: bool = True

    def add(self, batch: Batch[Any], written: Written, openings: Mapping[int, int]) -> None:
        """Add the counts and offsets of a batch. Offsets are contiguous only within one opening of their partition."""
        more = (len(batch.entries), written.inserted, written.changed, written.unchanged, len(batch.rejected()))
        self.counts = tuple(map(sum, zip(self.counts, more, strict=True)))
        for part in by_partition(batch.entries):
            first, last = part[0].record, part[-1].record
            place = (first.partition, openings[first.partition])
            source = self.sources.get(place)
            if source is None:
                source = {"partition": first.partition, "first_offset": first.offset, "messages": 0}
                self.sources[place] = source
            source["last_offset"] = last.offset
            source["messages"] += len(part)

    @property
    def sources_json(self) -> str:
        return json.encode(list(self.sources.values())).decode()


class BatchHistory:
    """Writes the rows of one worker's batches. Deletes the rows of its group and topic after `kept_s` seconds.

    `link` is also the writer's link: they use it one after the other. Old rows are deleted through `other_link`.
    """

    def __init__(self, identity: Identity, link: Link, other_link: Link, kept_s: float) -> None:
        self._identity = identity
        self._link = link
        self._other_link = other_link
        self._kept_s = kept_s
        self._row: _Row | None = None
        self._next: _Row | None = None
        self._incomplete = asyncio.Event()

    def id_for(self, messages: int) -> UUID:
        """Return the id for the next batch, which has this number of messages: a new id, or the id of a shared row."""
        row = self._row
        if row is not None and row.shared and messages <= SMALL and _now_s() - row.began_s < SHARED_S:
            return row.batch_id
        return uuid4()

    def writes_row(self, batch_id: UUID) -> bool:
        """Return whether a batch with this id writes its own row. If not, it shares an existing row."""
        return self._row is None or self._row.batch_id != batch_id

    async def store(
        self, connection: Connection, batch: Batch[Any], written: Written, openings: Mapping[int, int]
    ) -> None:
        """Write the row of the batch inside its transaction, unless it shares an existing row."""
        for sql, arguments in self._statements(batch, written, openings):
            await connection.execute(sql, *arguments)

    def parts(self, batch: Batch[Any], written: Written, openings: Mapping[int, int]) -> list[Statement]:
        """Return the parts of a joint statement that write what `store` does."""
        statements = self._statements(batch, written, openings)
        return [Statement(f"batches_{number} AS ({sql})", one) for number, (sql, one) in enumerate(statements)]

    def _statements(
        self, batch: Batch[Any], written: Written, openings: Mapping[int, int]
    ) -> list[tuple[str, tuple[Any, ...]]]:
        if not self.writes_row(batch.batch_id):
            return []
        before = [] if self._row is None or self._row.complete else [(_COMPLETE, _count_arguments(self._row))]
        now, now_s = datetime.now(UTC), _now_s()
        quick = self._row is not None and now_s - self._row.ended_s < SHARED_S
        self._next = row = _Row(batch.batch_id, now_s, quick and len(batch.entries) <= SMALL, now_s)
        row.add(batch, written, openings)
        arguments = (
            batch.batch_id,
            *row.counts,
            self._identity.group,
            batch.topic,
            self._identity.worker,
            self._identity.host,
            now - batch.consumed_at,
            now - batch.validated_at,
            batch.validated_at if row.shared else None,
            row.sources_json,
        )
        return [*before, (_INSERT, arguments)]

    def committed(self, batch: Batch[Any], written: Written, openings: Mapping[int, int]) -> None:
        """Must be called after the transaction of `store` was committed. Adds the counts if the batch shares a row."""
        if self._next is not None and self._next.batch_id == batch.batch_id:
            self._row, self._next = self._next, None
            if self._row.shared:
                self._to_be_completed()
        elif self._row is not None and self._row.batch_id == batch.batch_id:
            self._row.add(batch, written, openings)
            self._row.ended_s = _now_s()
            self._to_be_completed()

    def _to_be_completed(self) -> None:
        assert self._row is not None
        self._row.complete = False
        self._incomplete.set()

    async def run(self) -> None:
        """Complete shared rows, until cancelled. Outages are not logged here, because the writer logs them."""
        while True:
            await self._incomplete.wait()
            await asyncio.sleep(SHARED_S)
            self._incomplete.clear()
            try:
                await self.complete()
            except Exception as error:
                if not is_outage(error):
                    raise
                self._incomplete.set()
                await asyncio.sleep(DEADLINE_S * random.uniform(0.5, 1))

    async def forget_old(self) -> None:
        """Delete old rows regularly, until cancelled."""
        deleted = 0
        while True:
            await asyncio.sleep(FORGET_EVERY_S if deleted < FORGOTTEN_AT_ONCE else 1)
            deleted = 0
            try:
                deleted = await self.forget()
            except Exception as error:
                if not is_outage(error):
                    raise

    async def complete(self) -> None:
        """Write the missing counts of the last row. Raises the errors of the link."""
        row = self._row
        if row is None or row.complete:
            return
        async with asyncio.timeout(DEADLINE_S), self._link.use() as connection:
            counts = row.counts
            await connection.execute(_COMPLETE_ALONE, *_count_arguments(row))
            row.complete = counts is row.counts

    async def forget(self) -> int:
        """Delete old rows, at most `FORGOTTEN_AT_ONCE`. Returns how many were deleted."""
        scope = (self._identity.group, self._identity.topic, self._kept_s, FORGOTTEN_AT_ONCE)
        async with asyncio.timeout(DEADLINE_S), self._other_link.use() as connection, local_transaction(connection):
            tag = await connection.execute(_FORGET, *scope)
        return int(tag.split()[-1])


def _count_arguments(row: _Row) -> tuple[Any, ...]:
    return (row.batch_id, *row.counts, row.sources_json, timedelta(seconds=_now_s() - row.ended_s))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
