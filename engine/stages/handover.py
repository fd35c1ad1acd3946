"""Passes fetched records on in chunks. Leaves out records that were consumed before, or are of a revoked partition."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from engine.actors.mailbox import MailboxClosed
from engine.kafka.fetch_state import Fetched
from engine.kafka.fetcher import Fetcher
from engine.kafka.partitions import PartitionTable
from engine.kafka.record_batches import CorruptBatch, Piece
from engine.postgres.offsets import checksum
from engine.records import Chunk
from engine.stages.opener import PartitionOpener

BROKEN_TRIES = 3
"""How often a batch that cannot be read is fetched again before the partition is refused."""

Emit = Callable[[Chunk], Awaitable[None]]


class Handover:
    """Takes fetched data from `fetcher`, and passes chunks to `emit`, which waits while the processor is full."""

    def __init__(
        self,
        fetcher: Fetcher,
        opener: PartitionOpener,
        table: PartitionTable,
        emit: Emit,
        max_chunk_records: int,
        max_chunk_bytes: int,
    ) -> None:
        self._fetcher = fetcher
        self._opener = opener
        self._table = table
        self._emit = emit
        self._max_chunk_records = max_chunk_records
        self._max_chunk_bytes = max_chunk_bytes

    async def run(self) -> None:
        """Pass on fetched records. Returns when the processor accepts no more."""
        while True:
            fetched = await self._fetcher.fetched.get()
            try:
                await self._hand_on_one(fetched)
            except MailboxClosed:
                return
            finally:
                self._fetcher.release(fetched)

    async def _hand_on_one(self, fetched: Fetched) -> None:
        partition, state = fetched.partition, fetched.state
        if not self._is_current(fetched):
            if self._fetcher.state(partition) is state:
                self._fetcher.forget(partition)  # fenced: it is fetched again after it is opened again
            return
        if fetched.error is not None:
            self._refused(fetched, fetched.error)
        elif state.read_failures and fetched.answer.skips:
            # A batch at this offset could not be read a moment ago. That it is missing now is not a compaction gap.
            self._read_failed(fetched, CorruptBatch(state.position, "the broker returns a later batch instead"))
        else:
            await self._hand_on_answer(fetched)

    async def _hand_on_answer(self, fetched: Fetched) -> None:
        state, answer = fetched.state, fetched.answer
        state.gaps = state.gaps or answer.skips
        consumed_at = datetime.now(UTC)
        begin = state.position
        try:
            for piece in answer.pieces(self._max_chunk_records, self._max_chunk_bytes):
                if not self._is_current(fetched) or not await self._hand_on_piece(fetched, piece, consumed_at):
                    return
        except CorruptBatch as error:
            state.whole = not error.inside if state.position > begin else state.whole
            self._read_failed(fetched, error)
            return
        if state.position > begin:
            state.fetch_alone, state.whole = False, True
            if answer.end is not None and state.position >= answer.end:
                self._opener.clear_refusal(fetched.partition)  # all records up to the end could be read
        elif state.fetch_alone:
            self._read_failed(fetched, CorruptBatch(begin, "the broker returns only a part of it"))
        else:
            state.fetch_alone = True

    def _refused(self, fetched: Fetched, error: BaseException) -> None:
        partition, position = fetched.partition, fetched.state.position
        match error:
            case OffsetOutOfRangeError():
                self._fetcher.forget(partition)
                self._opener.out_of_range(partition, position)
            case UnknownTopicOrPartitionError():
                self.reopen(partition)
            case CorruptRecordException():
                self._read_failed(fetched, CorruptBatch(position, "the broker reports that it is corrupt"))
            case CorruptBatch():
                self._read_failed(fetched, error)

    async def _hand_on_piece(self, fetched: Fetched, piece: Piece, consumed_at: datetime) -> bool:
        """Emit the records of a piece that were not consumed yet. Returns False if the piece must not be consumed.

        That is the case when the topic was created again, or the partition was closed.
        """
        partition, state = fetched.partition, fetched.state
        records = piece.records
        if state.last_consumed is not None and records:
            known, state.last_consumed = state.last_consumed, None
            first = records[0]
            if first.offset == known.last_offset and (first.timestamp, checksum(first)) != (
                known.last_timestamp,
                known.last_checksum,
            ):
                self._fetcher.forget(partition)
                self._opener.recreated(partition, first.offset)
                return False
        consumed = max(state.floor, state.position)
        if records and records[0].offset < consumed:
            records = [record for record in records if record.offset >= consumed]
        if piece.next_offset > consumed:
            chunk = Chunk(
                partition, state.opening, state.epoch, records, piece.next_offset, piece.size_bytes, consumed_at
            )
            state.emitted = piece.next_offset
            await self._emit(chunk)
            if not self._is_current(fetched):
                return False
            self._opener.clear_refusal(partition)  # not if only the last consumed record was read again
        if piece.next_offset > state.position:
            state.position, state.read_failures = piece.next_offset, 0
        return True

    def _read_failed(self, fetched: Fetched, error: CorruptBatch) -> None:
        """Count a failed read of a batch. Refuses the partition when fetching the batch again does not help."""
        state = fetched.state
        state.read_failures += 1
        if state.read_failures > BROKEN_TRIES:
            self._fetcher.forget(fetched.partition)
            self._opener.corrupt(fetched.partition, max(error.offset, state.floor), str(error))
        elif state.read_failures > 1:
            self._fetcher.pause(state)

    def _is_current(self, fetched: Fetched) -> bool:
        followed = self._fetcher.state(fetched.partition) is fetched.state
        return followed and self._table.opened(fetched.partition, fetched.state.opening) is not None

    def reopen(self, partition: int) -> None:
        """Close a partition that does not exist any more. If it exists again, it is opened again.

        Its last consumed record then shows whether the topic is still the same.
        """
        self._fetcher.forget(partition)
        self._table.close(partition)
