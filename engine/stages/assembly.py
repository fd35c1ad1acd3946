"""Creates and connects the stages of a worker: the way of a record from Kafka to PostgreSQL.

The source emits chunks of records. The processor turns them into handled chunks. The writer combines these into
batches, and writes each batch in one transaction:

    KafkaSource ──► processor (handle_message) ──► writer (handle_batch) ──► dead letters, the handler's follow-up
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from engine.actors.actor import BatchActor
from engine.actors.status import Status
from engine.dead_letters.publisher import DeadLetterPublisher
from engine.dead_letters.store import Owner
from engine.handler import Handler
from engine.kafka.fetch_state import FetchState
from engine.kafka.partitions import PartitionTable
from engine.postgres.batches import BatchHistory
from engine.postgres.blockers import BlockerWatch
from engine.postgres.link import Link
from engine.postgres.session import finding_by_key, with_server_settings
from engine.records import Chunk, HandledChunk
from engine.stages.brake import Brake
from engine.stages.brake_pause import BrakePause
from engine.stages.opener import PartitionOpener
from engine.stages.options import WorkerOptions
from engine.stages.pauses import PauseWatch
from engine.stages.postgres_outage import PostgresOutage
from engine.stages.processor import Processor
from engine.stages.source import KafkaSource
from engine.stages.transaction import BatchTransactions
from engine.stages.writer import BatchWriter

T = TypeVar("T")
LOCK_TIMEOUT_MS = 5000
CLOSE_AFTER_S = 10.0
"""How long an idle connection stays open. For connections that are used only after a rebalance or an error."""


class Stages(Generic[T]):
    """Holds the stages and their connections to PostgreSQL. The worker starts and stops the stages.

    When `stopping` is set, a pause of the brake ends.
    """

    def __init__(self, options: WorkerOptions, handler: Handler[T], status: Status, stopping: asyncio.Event) -> None:
        self._options = options
        self._handler = handler
        self._status = status
        self._links: list[Link] = []
        # For short, rare statements. They must never wait for a lock of another session or for Kafka.
        self._spare = self._link(idle_s=CLOSE_AFTER_S)
        self._watch = BlockerWatch(self._spare)
        self.table = PartitionTable()
        # One batch waits while the batch before it is processed. A second one would cost memory and add no speed.
        capacity = {
            "max_items": options.batch_max_records,
            "max_weight": options.batch_max_bytes,
            "capacity_items": options.batch_max_records,
            "capacity_weight": options.batch_max_bytes,
        }
        self.publisher = self._make_publisher()
        writing = finding_by_key(self._options.session_options)
        write_link = self._link(with_server_settings(writing, lock_timeout=str(LOCK_TIMEOUT_MS)))
        self.history = BatchHistory(options.identity, write_link, self._spare, options.batch_history_s)
        brake = Brake(options.brake)
        pause = BrakePause(options.identity, brake, self._spare, status)
        writer = self._make_writer(write_link, brake, pause, stopping)
        self.writer: BatchActor[HandledChunk[T]] = BatchActor("writer", writer.handle_batch, **capacity)
        processor = Processor(options.identity.topic, handler, self.table, brake, pause, stopping, self.writer.put)
        self.processor: BatchActor[Chunk] = BatchActor("processor", processor.handle_batch, **capacity)
        self.source = self._make_source()
        self.pauses = PauseWatch(options.identity, self._spare, status, self.source.follow_pauses)

    @property
    def waiting(self) -> int:
        """How many records are between Kafka and the batch that is being written."""
        return len(self.processor.mailbox) + len(self.writer.mailbox)

    async def close(self) -> None:
        """Close the connections to PostgreSQL."""
        for link in self._links:
            await link.close()

    def _link(self, options: dict[str, Any] | None = None, idle_s: float | None = None) -> Link:
        link = Link(options or self._options.session_options, idle_s=idle_s)
        self._links.append(link)
        return link

    def _make_publisher(self) -> DeadLetterPublisher:
        options = self._options
        return DeadLetterPublisher(
            owner=Owner(options.identity.group, options.identity.topic),
            dlq_topic=options.dlq_topic,
            producer_options=options.kafka_options,
            link=self._link(finding_by_key(options.session_options)),
            status=self._status,
            backoff=options.backoff,
            subject_name=self._handler.subject_name,
        )

    def _make_writer(self, link: Link, brake: Brake, pause: BrakePause, stopping: asyncio.Event) -> BatchWriter[T]:
        options = self._options
        outage = PostgresOutage(options.identity.topic, link, self._status, options.backoff)
        transactions = BatchTransactions(
            group=options.identity.group,
            handler=self._handler,
            link=link,
            history=self.history,
            watch=self._watch,
            table=self.table,
            status=self._status,
            outage=outage,
        )
        return BatchWriter(
            identity=options.identity,
            handler=self._handler,
            transactions=transactions,
            outage=outage,
            history=self.history,
            table=self.table,
            status=self._status,
            brake=brake,
            brake_pause=pause,
            stopping=stopping,
            dead_letters_stored=self.publisher.wake,
            tracing=options.tracing,
        )

    def _make_source(self) -> KafkaSource:
        options, identity = self._options, self._options.identity
        link = self._link(idle_s=CLOSE_AFTER_S)

        def make_opener(follow: Callable[[int, FetchState], None]) -> PartitionOpener:
            return PartitionOpener(identity.topic, identity.group, link, self._watch, self.table, follow)

        async def emit(chunk: Chunk) -> None:
            await self.processor.put(chunk, chunk.size_bytes, max(1, len(chunk.records)))

        return KafkaSource(
            topic=identity.topic,
            group=identity.group,
            kafka_options=options.kafka_options,
            make_opener=make_opener,
            table=self.table,
            status=self._status,
            backoff=options.backoff,
            emit=emit,
            # A chunk must not be larger than the window of the brake, because the brake checks once per window.
            max_chunk_records=min(options.batch_max_records, options.brake.window),
            max_chunk_bytes=options.batch_max_bytes,
        )
