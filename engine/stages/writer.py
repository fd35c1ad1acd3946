"""The writer: writes each batch and moves its offsets in one transaction.

The steps: chunks of partitions that this worker still owns → a batch → a transaction (offsets, the handler's rows, dead
letters, the row of the batch) → the handler's `batch_committed`. Errors are handled as follows:

* another worker moved an offset (`Fenced`): close that partition and write the others
* PostgreSQL refuses the data: find the bad records, so that only they become dead letters (`_isolate`)
* too many were refused: the brake pauses the worker
* an outage, or a lost connection: see `engine/stages/transaction.py`
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import structlog

from engine.actors import failpoints
from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.dead_letters.reduced import Reduced
from engine.dead_letters.replays import replay_counts
from engine.handler import Handler
from engine.kafka.partitions import PartitionTable
from engine.postgres.batches import BatchHistory
from engine.postgres.offsets import Fenced
from engine.records import Batch, HandledChunk, Written
from engine.stages.brake import Brake
from engine.stages.brake_pause import BrakePause
from engine.stages.postgres_outage import PostgresOutage, Refused
from engine.stages.transaction import BatchTransactions
from engine.stages.work import Work
from engine.telemetry import events
from engine.verdict import REFUSED_BY_DATABASE

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

T = TypeVar("T")


class BatchWriter(Generic[T]):
    """Writes batches exactly once. Calls `dead_letters_stored` after each commit with dead letters.

    `stopping` ends a pause of the brake.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        handler: Handler[T],
        transactions: BatchTransactions[T],
        outage: PostgresOutage,
        history: BatchHistory,
        table: PartitionTable,
        status: Status,
        brake: Brake,
        brake_pause: BrakePause,
        stopping: asyncio.Event,
        dead_letters_stored: Callable[[], None],
        tracing: "Tracing | None" = None,
    ) -> None:
        self._identity = identity
        self._handler = handler
        self._transactions = transactions
        self._outage = outage
        self._history = history
        self._table = table
        self._status = status
        self._brake = brake
        self._brake_pause = brake_pause
        self._stopping = stopping
        self._dead_letters_stored = dead_letters_stored
        self._tracing = tracing
        self._log = structlog.get_logger()

    async def handle_batch(self, chunks: list[HandledChunk[T]]) -> None:
        """Write the entries of partitions that this worker still owns. Returns when all are committed or dropped."""
        self._status.started = True
        self._table.writing = {chunk.partition for chunk in chunks}
        try:
            await self._write_all(chunks)
        finally:
            self._table.writing = frozenset()

    async def _write_all(self, chunks: list[HandledChunk[T]]) -> None:
        waiting = [Work.of(chunks, self._table)]
        # Still engaged after a pause: the worker stops. The next owner of the partitions consumes the rest again.
        while waiting and not self._brake.engaged_by_stored:
            first, *others = waiting
            waiting = [*await self._write(first), *others]
            if self._brake.engaged_by_stored:
                await self._brake_pause.hold(self._stopping)

    async def _write(self, work: Work[T]) -> list[Work[T]]:
        """Write the part of the work that this worker still owns. Returns what is still to be written, in order."""
        work = work.owned(self._table)
        if not work.ends:
            self._outage.give_up()
            return []
        entries = work.entries
        batch_id = self._history.id_for(len(entries))
        batch = Batch(batch_id, self._identity.topic, work.consumed_at, work.validated_at, entries, work.epochs)
        try:
            try:
                batch, written = await self._transactions.commit(batch, work)
            except Refused as refusal:
                return await self._isolate(batch, work, refusal)
        except Fenced as fence:
            self._give_up(fence.partition, work)
            return [work]
        await self._finish(batch, work, written)
        return []

    async def _isolate(self, batch: Batch[T], work: Work[T], refusal: Refused) -> list[Work[T]]:
        """Return the refused work with verdicts on its first entries. Raises `Fenced`.

        Work that is larger than the window of the brake is cut up first, because the brake is asked after each commit.
        """
        pieces = work.pieces(self._brake.limits.window)
        if len(pieces) > 1:
            return pieces
        judged = await self._transactions.isolate(batch, work, refusal)
        if len(judged) == len(work.entries):
            return [attrs.evolve(work, entries=judged)]
        first, rest = work.split(len(judged))
        return [attrs.evolve(first, entries=judged), rest]

    def _give_up(self, partition: int, work: Work[T]) -> None:
        self._status.counters.fenced += 1
        self._outage.give_up()
        # If the partition was opened again meanwhile, the new opening stays open.
        if self._table.opened(partition, work.openings[partition]):
            self._table.close(partition)
        self._log.warning(events.PARTITION_FENCED, topic=self._identity.topic, partition=partition)

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
        self._brake.count_stored(batch)
        if rejected:
            self._log_refused(batch)
            self._dead_letters_stored()
        if batch.replays:
            self._log.info(events.DEAD_LETTERS_REPLAYED, batch_id=str(batch.batch_id), **replay_counts(batch))
        await self._handler.batch_committed(batch, written)
        if self._tracing is not None:
            await self._tracing.batch_committed(batch, self._identity.group, self._handler.subject, committed_ns)

    def _log_refused(self, batch: Batch[T]) -> None:
        """Log each message that PostgreSQL has refused, and each dead letter that it has refused to store whole."""
        for record, verdict in batch.rejected():
            event = events.DEAD_LETTER_REDUCED if isinstance(verdict, Reduced) else events.BATCH_REFUSED
            if event == events.DEAD_LETTER_REDUCED or verdict.reason == REFUSED_BY_DATABASE:
                why = "; ".join(error.message for error in verdict.errors)
                self._log.warning(event, topic=batch.topic, partition=record.partition, offset=record.offset, error=why)
