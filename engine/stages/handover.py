"""Hands on what was fetched, in chunks of records, as far as it is this worker's and has not been consumed before."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from engine.actors.mailbox import MailboxClosed
from engine.kafka.fetcher import Fetched, Fetcher
from engine.kafka.partitions import PartitionTable
from engine.kafka.record_batches import CorruptBatch, Piece
from engine.postgres.offsets import checksum
from engine.records import Chunk
from engine.stages.opener import PartitionOpener

BROKEN_TRIES = 3
"""How often a batch that cannot be read is fetched again before its partition is refused."""

Emit = Callable[[Chunk], Awaitable[None]]


class Handover:
    """Takes what `fetcher` has fetched, and gives chunks to `emit`, which waits when there is no room."""

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
        """Hand on what is fetched. Returns when nobody takes it any more."""
        while True:
            fetched = await self._fetcher.fetched.get()
            try:
                await self._hand_on_one(fetched)
            except MailboxClosed:
                return
            finally:
                self._fetcher.handed_on(fetched)

    async def _hand_on_one(self, fetched: Fetched) -> None:
        partition, state = fetched.partition, fetched.state
        if not self._is_present(fetched):
            if self._fetcher.state(partition) is state:
                self._fetcher.forget(partition)  # fenced: it is followed anew once it is opened again
            return
        if fetched.error is not None:
            self._refused(fetched, fetched.error)
        elif state.broken and fetched.answer.skips:
            # Something could not be read there a moment ago: that nothing is there now is no gap.
            self._broken(fetched, CorruptBatch(state.position, "the broker gives a batch that begins behind it"))
        else:
            await self._hand_on_answer(fetched)

    async def _hand_on_answer(self, fetched: Fetched) -> None:
        state, answer = fetched.state, fetched.answer
        state.gaps = state.gaps or answer.skips
        consumed_at = datetime.now(UTC)
        begin = state.position
        try:
            for piece in answer.pieces(self._max_chunk_records, self._max_chunk_bytes):
                if not self._is_present(fetched) or not await self._hand_on_piece(fetched, piece, consumed_at):
                    return
        except CorruptBatch as error:
            state.whole = not error.inside if state.position > begin else state.whole
            self._broken(fetched, error)
            return
        if state.position > begin:
            state.alone, state.whole = False, True
            if answer.end is not None and state.position >= answer.end:
                self._opener.well(fetched.partition)  # nothing waits that might still be broken
        elif state.alone:
            self._broken(fetched, CorruptBatch(begin, "it is longer than what the broker has of it"))
        else:
            state.alone = True

    def _refused(self, fetched: Fetched, error: BaseException) -> None:
        partition, position = fetched.partition, fetched.state.position
        match error:
            case OffsetOutOfRangeError():
                self._fetcher.forget(partition)
                self._opener.out_of_range(partition, position)
            case UnknownTopicOrPartitionError():
                self.reopen(partition)
            case CorruptRecordException():
                self._broken(fetched, CorruptBatch(position, "the broker says that it is corrupt"))
            case CorruptBatch():
                self._broken(fetched, error)

    async def _hand_on_piece(self, fetched: Fetched, piece: Piece, consumed_at: datetime) -> bool:
        """Emit what of a piece has not been consumed yet. Returns False when the topic is not the one that was."""
        partition, state = fetched.partition, fetched.state
        records = piece.records
        if state.recognise is not None and records:
            known, state.recognise = state.recognise, None
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
            await self._emit(chunk)
            if not self._is_present(fetched):
                return False
            self._opener.well(partition)  # not when only the last record was read again
        if piece.next_offset > state.position:
            state.position, state.broken = piece.next_offset, 0
        return True

    def _broken(self, fetched: Fetched, error: CorruptBatch) -> None:
        """Count how often a batch could not be read; refuse its partition when fetching it again does not help."""
        state = fetched.state
        state.broken += 1
        if state.broken > BROKEN_TRIES:
            self._fetcher.forget(fetched.partition)
            self._opener.corrupt(fetched.partition, max(error.offset, state.floor), str(error))
        elif state.broken > 1:
            self._fetcher.rest(state)

    def _is_present(self, fetched: Fetched) -> bool:
        followed = self._fetcher.state(fetched.partition) is fetched.state
        return followed and self._table.opened(fetched.partition, fetched.state.opening) is not None

    def reopen(self, partition: int) -> None:
        """Close a partition that is gone. When it is there again, its last record tells whether it is another one."""
        self._fetcher.forget(partition)
        self._table.close(partition)
