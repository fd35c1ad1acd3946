"""The transaction of a batch: offsets, the handler's rows, dead letters, the row of the batch.

A small batch is one statement if the handler can write it so: PostgreSQL is waited for once. This is tried once. What
it cannot write is written step by step.

During an outage the same batch is tried again, without a limit. If the connection is lost during COMMIT, the writer
waits until the server has ended the transaction, and then checks by the offsets whether it was committed.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, repeat
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import structlog
from asyncpg import Connection, PostgresError
from asyncpg.transaction import Transaction

from engine.actors import failpoints
from engine.actors.status import Status
from engine.dead_letters.replays import names_dead_letters, recognise_replays, store_verdicts
from engine.handler import Handler, RewriteBatch
from engine.kafka.partitions import PartitionTable
from engine.postgres.batches import BatchHistory
from engine.postgres.blockers import BlockerWatch
from engine.postgres.errors import Judgement, SetupNeeded, is_outage, judge
from engine.postgres.link import Link
from engine.postgres.offsets import FENCE_PASSED, TABLE, Fenced, advance_offsets, fence, fenced, has_batch, has_landed
from engine.postgres.statements import execute_joined
from engine.records import Batch, Entry, Written
from engine.stages.isolation import REWRITES, Isolation, describe_rewrite
from engine.stages.postgres_outage import PostgresOutage, Refused, pause_briefly
from engine.stages.work import Work
from engine.telemetry import events

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 25
"""The most messages of a batch that is tried in one statement. For more of them COPY is cheaper as a whole."""
WRITE_DEADLINE_S = 60.0
STEP_GRACE_S = 30.0
SEARCH_S = 20.0
"""How long one search for refused messages may take. What it has judged by then is committed first."""


class BatchTransactions(Generic[T]):
    """Runs the transactions of one consumer group through `link`, one at a time."""

    def __init__(
        self,
        *,
        group: str,
        handler: Handler[T],
        link: Link,
        history: BatchHistory,
        watch: BlockerWatch,
        table: PartitionTable,
        status: Status,
        outage: PostgresOutage,
    ) -> None:
        self._group = group
        self._handler = handler
        self._link = link
        self._history = history
        self._watch = watch
        self._table = table
        self._status = status
        self._outage = outage
        self._attempted: tuple[Batch[T], Written] | None = None
        self._log = structlog.get_logger()

    async def commit(self, batch: Batch[T], work: Work[T]) -> tuple[Batch[T], Written]:
        """Commit the batch and return it as it was written. Waits during outages. Raises `Fenced`, `Refused`."""
        done: tuple[Batch[T], Written] | None = None
        doubtful: dict[UUID, tuple[Batch[T], Written]] = {}  # what the tries wrote that may have been committed
        rewrites = 0
        attempts = chain([self._commit_at_once], repeat(self._commit))
        while done is None:
            commit, write_id, self._attempted = next(attempts), uuid4(), None
            try:
                done = await self._run("write", partial(commit, batch=batch, work=work, write_id=write_id))
            except RewriteBatch as error:
                rewrites += 1
                if rewrites == REWRITES:
                    raise Refused(describe_rewrite(error)) from None
                if rewrites > 1:
                    await pause_briefly()
            except Fenced:
                # A write whose connection was lost may have been committed only now: it was in the server's socket.
                done = await self._settle_lost_commit(batch, work, doubtful)
                if done is None:
                    raise
            except Exception as error:
                if self._attempted is not None:
                    doubtful[write_id] = self._attempted
                await self._outage.wait_or_raise(error, work)
                done = await self._settle_lost_commit(batch, work, doubtful)
        self._outage.over()
        return done

    async def isolate(self, batch: Batch[T], work: Work[T], refusal: Refused) -> list[Entry[T]]:
        """Return the first entries of a refused batch with their verdicts: see `Isolation.run`.

        Waits if the search cannot be made, or if no message is refused by itself: then the set-up refuses the batch, as
        `refusal` says. The entries are then returned as they are, to be written again. Raises `Fenced`.
        """
        try:
            return await self._run("isolate", lambda connection: self._search(connection, batch, work, refusal))
        except Exception as error:
            try:
                await self._outage.wait_or_raise(error, work)
            except Refused as again:
                await self._outage.wait_or_raise(SetupNeeded(str(again)), work)
        return batch.entries

    async def _run(self, step: str, work: Callable[[Connection], Awaitable[R]]) -> R:
        with self._status.step(step, WRITE_DEADLINE_S + STEP_GRACE_S):
            async with self._link.use() as connection:
                return await self._link.within_deadline(work(connection))

    async def _commit_at_once(
        self, connection: Connection, batch: Batch[T], work: Work[T], write_id: UUID
    ) -> tuple[Batch[T], Written]:
        statement = self._handler.statement(batch) if _is_plain(batch) else None
        if statement is not None:
            part, written = statement
            advances = work.advances(self._table)
            parts = [
                fence(self._group, batch.topic, advances, write_id),
                part,
                *self._history.parts(batch, written, work.openings),
            ]
            self._attempted = batch, written
            try:
                # A session that blocks the handler's rows is another worker's, and not frozen.
                async with self._watch.guard(connection, only_for=TABLE):
                    await execute_joined(connection, parts, FENCE_PASSED)
                return batch, written
            except PostgresError as error:
                if (fence_error := fenced(error)) is not None:
                    raise fence_error from None
                judgement = judge(error)
                if judgement is Judgement.OUTAGE:
                    raise  # it may be committed all the same
                self._attempted = None
                if judgement is Judgement.MOMENTARY:
                    raise
        return await self._commit(connection, batch, work, write_id)

    async def _commit(
        self, connection: Connection, batch: Batch[T], work: Work[T], write_id: UUID
    ) -> tuple[Batch[T], Written]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            batch = await self._move_offsets(connection, batch, work, write_id)
            written = Written()
            if batch.entries:
                written = await self._handler.handle_batch(connection, batch)
                await store_verdicts(connection, self._group, batch, self._handler.subject)
                await self._history.store(connection, batch, written, work.openings)
        except BaseException:
            await _roll_back(connection, transaction)
            raise
        self._attempted = batch, written
        failpoints.reach(failpoints.AFTER_COPY)
        await transaction.commit()
        return batch, written

    async def _search(self, connection: Connection, batch: Batch[T], work: Work[T], refusal: Refused) -> list[Entry[T]]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            # Only while this worker owns the partitions. Its successor waits for these rows, and can end this session.
            batch = await self._move_offsets(connection, batch, work, uuid4())
            search = Isolation(connection, self._handler, self._group, batch)
            judged = await search.run(SEARCH_S)
        finally:
            await _roll_back(connection, transaction)
        refused = sum(entry is not before for entry, before in zip(judged, batch.entries, strict=False))
        self._log.info(
            events.BATCH_SEARCHED,
            topic=batch.topic,
            messages=len(judged),
            refused=refused,
            tries=search.tries,
            error=str(refusal),
        )
        if refused or len(judged) < len(batch.entries):
            return judged
        if half := judged[: len(judged) // 2]:
            return half
        raise SetupNeeded(f"no message is refused by itself: {refusal}")

    async def _move_offsets(self, connection: Connection, batch: Batch[T], work: Work[T], write_id: UUID) -> Batch[T]:
        """Begin the transaction's work: move the offsets. Returns the batch with its replays. Raises `Fenced`."""
        async with self._watch.guard(connection):
            advances = work.advances(self._table)
            await advance_offsets(connection, self._group, batch.topic, advances, write_id)
        if not batch.entries:
            return batch
        async with self._watch.guard(connection):
            return await recognise_replays(connection, self._group, batch)

    async def _settle_lost_commit(
        self, batch: Batch[T], work: Work[T], doubtful: dict[UUID, tuple[Batch[T], Written]]
    ) -> tuple[Batch[T], Written] | None:
        """Return what an earlier try of this batch wrote if it was committed, although its connection was lost."""
        if not batch.entries or not doubtful:
            # If a batch without entries was committed, the next try is fenced. Then its partitions are opened again
            # at the new offsets.
            return None
        # The row is the same for all tries, so it decides only if no offset has the id of one of them. It is looked for
        # first: a try that lands after that is found by its id, or fences the next one.
        found = None
        if self._history.writes_row(batch.batch_id) and await self._look(
            partial(has_batch, batch_id=batch.batch_id), work
        ):
            found = next(reversed(doubtful.values()))
        for write_id, attempted in reversed(doubtful.items()):
            landed = partial(has_landed, group=self._group, topic=batch.topic, partitions=work.ends, write_id=write_id)
            if await self._look(landed, work):
                found = attempted
                break
        if found is not None:
            self._log.info(events.BATCH_SETTLED, batch_id=str(batch.batch_id))
        return found

    async def _look(self, look: Callable[[Connection], Awaitable[bool]], work: Work[T]) -> bool:
        """Return what `look` finds out. Waits during outages."""

        async def guarded(connection: Connection) -> bool:
            async with self._watch.guard(connection):
                return await look(connection)

        while True:
            try:
                return await self._run("settle", guarded)
            except Exception as error:
                if not is_outage(error):
                    raise
                await self._outage.wait_out(error, work)


def _is_plain(batch: Batch[Any]) -> bool:
    """Return whether a batch is small and has nothing but accepted records, none of them a replay."""
    return 0 < len(batch.entries) <= AT_ONCE and not batch.rejected() and not names_dead_letters(batch)


async def _roll_back(connection: Connection, transaction: Transaction) -> None:
    if not connection.is_closed():
        await transaction.rollback()
