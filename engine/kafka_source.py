"""The Kafka end of a worker: joins the group, fetches from partitions that are open, and hands on chunks of records.

`auto_offset_reset` is `none` and Kafka's committed offset is for tools only. While aiokafka reports an assignment it
may already deliver from that committed offset, so records count only after the partition was opened.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from engine import events
from engine.backoff import Backoff
from engine.kafka_records import take_any_header_name
from engine.mailbox import MailboxClosed
from engine.partition_opener import PartitionOpener
from engine.partitions import PartitionTable
from engine.records import Chunk, Record, slice_records
from engine.silence import Silence
from engine.status import Status

CHUNK_RECORDS = 25
"""How many records are handled in one go. An answer from PostgreSQL that the writer waits for waits so long, too."""
FETCH_BYTES = 2 * 1024 * 1024
POLL_S = 0.2
COMMIT_EVERY_S = 1.0

Emit = Callable[[Chunk], Awaitable[None]]


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Consumes one topic in a group. `emit` takes the chunks and waits when there is no room."""

    def __init__(
        self,
        topic: str,
        group: str,
        consumer_options: dict[str, Any],
        opener: PartitionOpener,
        table: PartitionTable,
        status: Status,
        backoff: Backoff,
        emit: Emit,
        max_chunk_records: int,
        max_chunk_bytes: int,
    ) -> None:
        self._topic = topic
        self._group = group
        self._options = consumer_options
        self._table = table
        self._opener = opener
        self._status = status
        self._backoff = backoff
        self._emit = emit
        self._max_chunk_records = min(CHUNK_RECORDS, max_chunk_records)
        self._max_chunk_bytes = max_chunk_bytes
        self._consumer: Any = None
        self._stopping = asyncio.Event()
        self._silence = Silence()
        self._committed: dict[int, int] = {}
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Join the group. Raises aiokafka's errors when the brokers cannot be reached."""
        take_any_header_name()
        self._consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=4 * FETCH_BYTES,
            # Backpressure may last as long as an outage of PostgreSQL; the fence, not this timer, guards ownership.
            # The shortest that an unmodified broker allows: a killed worker is missed after this long.
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
            max_poll_interval_ms=24 * 3600 * 1000,
            # How long a connection may be silent before it counts as lost; longer than any rebalance takes.
            request_timeout_ms=20_000,
            **self._options,
        )
        self._consumer.subscribe([self._topic], listener=self)
        try:
            await self._consumer.start()
        except BaseException:
            # A client that failed half-way still has tasks that could join the group later.
            try:
                await self._consumer.stop()
            finally:
                self._consumer = None
            raise

    def stop_fetching(self) -> None:
        """Stop handing on records. `run` returns soon after."""
        self._stopping.set()

    async def close(self) -> None:
        """Commit the last offsets for the tools, and leave the group."""
        if self._consumer is None:
            return
        await self._commit()
        await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note new partitions; they are opened by `run`, between two polls."""
        partitions = {partition.partition for partition in assigned}
        self._silence.heard(asyncio.get_running_loop().time())
        self._table.assign(partitions)
        self._consumer.pause(*assigned)
        self._opener.forget_refusals()
        self._log.info(events.PARTITIONS_ASSIGNED, topic=self._topic, partitions=sorted(partitions))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget partitions at once. A batch in flight ends by itself: committed before the next owner, or fenced."""
        partitions = {partition.partition for partition in revoked}
        self._table.revoke(partitions)
        self._committed.clear()
        if partitions:
            self._log.info(events.PARTITIONS_REVOKED, topic=self._topic, partitions=sorted(partitions))

    async def run(self) -> None:
        """Fetch and hand on records until `stop_fetching`. Outages of Kafka are waited out."""
        loop = asyncio.get_running_loop()
        attempt, next_try_at, commit_at = 0, 0.0, loop.time() + COMMIT_EVERY_S
        while not self._stopping.is_set():
            try:
                await self._opener.open_wanted(self._consumer)
                fetched = await self._consumer.getmany(timeout_ms=int(POLL_S * 1000))
            except NoOffsetForPartitionError:
                continue
            except OffsetOutOfRangeError as error:
                self._opener.refuse_out_of_range(self._consumer, error)
                continue
            except KafkaError as error:
                attempt += 1
                await self._wait_out(error, attempt)
                continue
            if not self._silence_lasts(fetched):
                attempt = 0
                if self._status.recovered("kafka"):
                    self._log.info(events.OUTAGE_ENDED, of="kafka")
            elif loop.time() >= next_try_at:
                attempt += 1
                next_try_at = loop.time() + self._declare_outage("no answer", attempt)
            self._status.started = True
            try:
                await self._hand_on(fetched)
            except MailboxClosed:
                return
            if loop.time() >= commit_at:
                await self._commit()
                commit_at = loop.time() + COMMIT_EVERY_S

    def _silence_lasts(self, fetched: dict[TopicPartition, list[Record]]) -> bool:
        now_s = asyncio.get_running_loop().time()
        if fetched:
            self._silence.heard(now_s)
        fetching = [place for place in self._consumer.assignment() if self._table.present(place.partition)]
        answers = [self._consumer.last_poll_timestamp(place) or 0 for place in fetching]
        return self._silence.lasts(max(answers, default=None), now_s)

    def _declare_outage(self, error: str, attempt: int) -> float:
        """Say that a try has failed. Returns after how many seconds the next one is due."""
        delay_s = self._backoff.delay_s(attempt, random.random())
        self._status.outage("kafka", attempt)
        event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
        self._log.warning(event, of="kafka", error=error, tries=attempt, next_try_s=round(delay_s, 2))
        return delay_s

    async def _wait_out(self, error: BaseException, attempt: int) -> None:
        delay_s = self._declare_outage(type(error).__name__, attempt)
        try:
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        except TimeoutError:
            return

    async def _hand_on(self, fetched: dict[TopicPartition, list[Record]]) -> None:
        consumed_at = datetime.now(UTC)
        for place, records in fetched.items():
            accepted = self._opener.accept(self._consumer, place.partition, records)
            opened = self._table.present(place.partition)
            if not accepted or opened is None:
                continue
            for piece, size_bytes in slice_records(accepted, self._max_chunk_records, self._max_chunk_bytes):
                await self._emit(Chunk(place.partition, opened.opening, opened.epoch, piece, size_bytes, consumed_at))

    async def _commit(self) -> None:
        positions = {
            partition: offset
            for partition, offset in self._table.positions().items()
            if self._committed.get(partition) != offset
        }
        if not positions:
            return
        try:
            await asyncio.wait_for(
                self._consumer.commit({TopicPartition(self._topic, p): offset for p, offset in positions.items()}), 5
            )
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=type(error).__name__)
            return
        self._committed.update(positions)
