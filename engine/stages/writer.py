"""The writer: writes each batch and moves its offsets in one transaction.

The steps: chunks of partitions that this worker still owns → a batch → a transaction (offsets, the handler's rows, dead
letters, the row of the batch) → the handler's `batch_committed`. Errors are handled as follows:

* another worker moved an offset (`Fenced`): close that partition and write the others (`_write`)
* PostgreSQL refuses the data: bisect the batch, so that only the bad records become dead letters (`_bisect`)
* an outage: wait and try the same batch again, without a limit (`_wait_out`)
* the connection is lost during COMMIT: wait until the server has ended the transaction, then check by the offsets
  whether it was committed (`_settle_lost_commit`)
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID, uuid4

import attrs
import structlog
from asyncpg import Connection

from engine.actors import failpoints
from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.dead_letters.replays import recognise_replays, replay_counts, store_verdicts
from engine.handler import Handler, RewriteBatch
from engine.kafka.partitions import PartitionTable
from engine.postgres.batches import BatchHistory
from engine.postgres.blockers import BlockerWatch
from engine.postgres.errors import describe, describe_refusal, is_momentary, is_outage, refuses_data
from engine.postgres.link import Link
from engine.postgres.offsets import Fenced, advance_offsets, has_landed
from engine.records import Batch, Entry, HandledChunk, Written
from engine.stages.work import Work
from engine.telemetry import events
from engine.verdict import REFUSED_BY_DATABASE, FieldError, Rejected

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

T = TypeVar("T")

WRITE_DEADLINE_S = 60.0
STEP_GRACE_S = 30.0
MOMENTARY_TRIES = 10


class _Refused(Exception):
    """PostgreSQL refused the data of the batch. The error text contains no data."""


class BatchWriter(Generic[T]):
    """Writes batches exactly once. Calls `dead_letters_stored` after each commit with dead letters."""

    def __init__(
        self,
        *,
        identity: Identity,
        handler: Handler[T],
        link: Link,
        history: BatchHistory,
        watch: BlockerWatch,
        table: PartitionTable,
        status: Status,
        backoff: Backoff,
        dead_letters_stored: Callable[[], None],
        tracing: "Tracing | None" = None,
    ) -> None:
        self._identity = identity
        self._handler = handler
        self._link = link
        self._history = history
        self._watch = watch
        self._table = table
        self._status = status
        self._backoff = backoff
        self._dead_letters_stored = dead_letters_stored
        self._tracing = tracing
        self._attempted: tuple[Batch[T], Written] | None = None
        self._log = structlog.get_logger()

    async def handle_batch(self, chunks: list[HandledChunk[T]]) -> None:
        """Write the entries of partitions that this worker still owns. Returns when all are committed or dropped."""
        self._status.started = True
        await self._write(Work.of(chunks, self._table))

    async def _write(self, work: Work[T]) -> None:
        while (work := work.owned(self._table)).ends:
            entries = work.entries
            batch_id = self._history.id_for(len(entries))
            batch = Batch(batch_id, self._identity.topic, work.consumed_at, work.validated_at, entries, work.epochs)
            try:
                batch, written = await self._commit(batch, work)
            except Fenced as fence:
                self._status.counters.fenced += 1
                # If the partition was opened again meanwhile, the new opening stays open.
                if self._table.opened(fence.partition, work.openings[fence.partition]):
                    self._table.close(fence.partition)
                self._log.warning(events.PARTITION_FENCED, topic=batch.topic, partition=fence.partition)
                continue
            except _Refused as refusal:
                if len(entries) > 1:
                    await self._bisect(work)
                    return
                work = attrs.evolve(work, entries=[self._culprit(entries[0], str(refusal), batch)])
                continue
            await self._finish(batch, work, written)
            return

    async def _bisect(self, work: Work[T]) -> None:
        for half in work.halves():
            await self._write(half)

    def _culprit(self, entry: Entry[T], refusal: str, batch: Batch[T]) -> Entry[T]:
        if isinstance(entry.value, Rejected):
            raise RuntimeError(f"a dead letter was refused: {refusal}")
        record = entry.record
        self._log.warning(
            events.BATCH_REFUSED, topic=batch.topic, partition=record.partition, offset=record.offset, error=refusal
        )
        subject = self._handler.subject(entry.value)
        return Entry(record, Rejected(REFUSED_BY_DATABASE, (FieldError("", refusal),), subject))

    async def _commit(self, batch: Batch[T], work: Work[T]) -> tuple[Batch[T], Written]:
        """Commit the batch and return it as it was written. Waits during outages. Raises `Fenced`, `_Refused`."""
        tries = _Tries()
        done: tuple[Batch[T], Written] | None = None
        self._attempted, write_id = None, uuid4()
        while done is None:
            try:
                with self._status.step("write", WRITE_DEADLINE_S + STEP_GRACE_S):
                    async with self._link.use() as connection:
                        done = await self._link.within_deadline(self._transaction(connection, batch, work, write_id))
            except RewriteBatch:
                continue
            except Exception as error:
                await self._wait_or_raise(error, tries)
                done = await self._settle_lost_commit(batch, work, write_id)
        if self._status.recovered("postgres"):
            self._log.info(events.OUTAGE_ENDED, of="postgres", tries=tries.outages)
        return done

    async def _wait_or_raise(self, error: Exception, tries: "_Tries") -> None:
        """Return when it is time to try again. Raises the error if another try cannot succeed."""
        if refuses_data(error):
            raise _Refused(describe_refusal(error)) from None
        if not is_outage(error):
            raise error
        if is_momentary(error) and tries.momentary < MOMENTARY_TRIES:
            tries.momentary += 1
            await asyncio.sleep(random.uniform(0.005, 0.05))
            return
        tries.outages += 1
        await self._wait_out(error, tries.outages)

    async def _wait_out(self, error: BaseException, attempt: int) -> None:
        delay_s = self._backoff.delay_s(attempt, random.random())
        self._status.outage("postgres", attempt)
        event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
        self._log.warning(event, of="postgres", error=describe(error), tries=attempt, next_try_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)

    async def _transaction(
        self, connection: Connection, batch: Batch[T], work: Work[T], write_id: UUID
    ) -> tuple[Batch[T], Written]:
        written = Written()
        transaction = connection.transaction()
        await transaction.start()
        try:
            async with self._watch.guard(connection):
                advances = work.advances(self._table)
                await advance_offsets(connection, self._identity.group, batch.topic, advances, write_id)
            if batch.entries:
                async with self._watch.guard(connection):
                    batch = await recognise_replays(connection, self._identity.group, batch)
                written = await self._handler.handle_batch(connection, batch)
                await store_verdicts(connection, self._identity.group, batch, self._handler.subject)
                await self._history.store(connection, batch, written, work.openings)
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        self._attempted = batch, written
        failpoints.reach(failpoints.AFTER_COPY)
        await transaction.commit()
        return batch, written

    async def _settle_lost_commit(
        self, batch: Batch[T], work: Work[T], write_id: UUID
    ) -> tuple[Batch[T], Written] | None:
        """Return what the earlier try of this batch wrote if it was committed, although its connection was lost."""
        attempted, attempt, found = self._attempted, 0, None
        if attempted is None or not batch.entries:
            # If a batch without entries was committed, the next try is fenced. Then its partitions are opened again
            # at the new offsets.
            return None
        while found is None:
            try:
                with self._status.step("settle", WRITE_DEADLINE_S + STEP_GRACE_S):
                    async with self._link.use() as connection:
                        found = await self._link.within_deadline(self._find(connection, batch, work, write_id))
            except Exception as error:
                if not is_outage(error):
                    raise
                attempt += 1
                await self._wait_out(error, attempt)
        if not found:
            return None
        self._log.info(events.BATCH_SETTLED, batch_id=str(batch.batch_id))
        return attempted

    async def _find(self, connection: Connection, batch: Batch[T], work: Work[T], write_id: UUID) -> bool:
        own = batch.batch_id if self._history.writes_row(batch.batch_id) else None
        async with self._watch.guard(connection):
            return await has_landed(connection, self._identity.group, batch.topic, write_id, work.ends, own)

    async def _finish(self, batch: Batch[T], work: Work[T], written: Written) -> None:
        failpoints.reach(failpoints.AFTER_COMMIT)
        committed_ns = time.time_ns()
        counters = self._status.counters
        for partition, end in work.ends.items():
            self._table.advance(partition, work.openings[partition], end)
        self._status.committed()
        if not batch.entries:
            return
        self._history.committed(batch, written, work.openings)
        rejected = len(batch.rejected())
        counters.batches += 1
        counters.messages += len(batch.entries)
        counters.inserted += written.inserted
        counters.changed += written.changed
        counters.unchanged += written.unchanged
        counters.rejected += rejected
        if rejected:
            self._dead_letters_stored()
        if batch.replays:
            self._log.info(events.DEAD_LETTERS_REPLAYED, batch_id=str(batch.batch_id), **replay_counts(batch))
        await self._handler.batch_committed(batch, written)
        if self._tracing is not None:
            await self._tracing.batch_committed(batch, self._identity.group, self._handler.subject, committed_ns)


@attrs.define
class _Tries:
    momentary: int = 0
    outages: int = 0
