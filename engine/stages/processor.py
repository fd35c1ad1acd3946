"""The processor: calls the handler for each message, between source and writer, and counts verdicts for the brake."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from engine.handler import Handler
from engine.kafka.partitions import PartitionTable
from engine.records import Chunk, Entry, HandledChunk
from engine.stages.brake import Brake
from engine.stages.brake_pause import BrakePause
from engine.verdict import Rejected

T = TypeVar("T")


class Processor(Generic[T]):
    """Handles chunks and passes them to `hand_on`, which waits while the writer's mailbox is full.

    `stopping` ends a pause of the brake.
    """

    def __init__(
        self,
        topic: str,
        handler: Handler[T],
        table: PartitionTable,
        brake: Brake,
        brake_pause: BrakePause,
        stopping: asyncio.Event,
        hand_on: Callable[[HandledChunk[T], int, int], Awaitable[None]],
    ) -> None:
        self._topic = topic
        self._handler = handler
        self._table = table
        self._brake = brake
        self._brake_pause = brake_pause
        self._stopping = stopping
        self._hand_on = hand_on

    async def handle_batch(self, chunks: list[Chunk]) -> None:
        """Handle the messages of the partitions that this worker still owns. Returns when all are passed on."""
        for chunk in chunks:
            if self._table.opened(chunk.partition, chunk.opening) is None:
                continue
            if self._brake.engaged:
                return  # stopped during the pause: the next owner of the partitions consumes the rest again
            handled = self._handle(chunk)
            await self._hand_on(handled, chunk.size_bytes, max(1, len(handled.entries)))
            if handled.rejected:
                self._brake.count_judged(handled.entries, self._topic)
            else:
                self._brake.count_accepted(len(handled.entries))
            if self._brake.engaged:
                await self._brake_pause.hold(self._stopping)
            await asyncio.sleep(0)

    def _handle(self, chunk: Chunk) -> HandledChunk[T]:
        values = list(map(self._handler.handle_message, chunk.records))
        return HandledChunk(
            chunk.partition,
            chunk.opening,
            chunk.epoch,
            [Entry(record, value) for record, value in zip(chunk.records, values, strict=True)],
            any(issubclass(kind, Rejected) for kind in set(map(type, values))),
            chunk.next_offset,
            chunk.size_bytes,
            chunk.consumed_at,
        )
