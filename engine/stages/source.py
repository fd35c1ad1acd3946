"""The source of a worker: opens the assigned partitions, fetches records from Kafka and emits them in chunks.

The source has its own position in each partition. The position moves only after fetched data: over emitted records, and
over offsets without a record to consume (transaction markers, aborted transactions, offsets removed by compaction). The
offsets that are committed to Kafka are only for monitoring tools.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from engine.actors.backoff import Backoff
from engine.actors.cancelling import cancel
from engine.actors.status import Status
from engine.kafka.brokers import TROUBLE, Brokers, describe_kafka
from engine.kafka.fetch_state import FetchState
from engine.kafka.fetcher import Fetcher
from engine.kafka.group_member import GroupMember
from engine.kafka.outage import KafkaOutage
from engine.kafka.partitions import PartitionTable
from engine.postgres.pauses import Pauses
from engine.stages.handover import Emit, Handover
from engine.stages.opener import PartitionOpener
from engine.stages.pauses import PartitionPauses
from engine.telemetry import events

CHUNK_RECORDS = 50
"""How many records are handled at once. The event loop is busy meanwhile, so the writer waits that long as well."""
TURN_S = 0.2
"""How often the source looks what there is to do. Each look costs about 0.1 ms of processor time, also at rest."""
COMMIT_EVERY_S = 1.0
REFRESH_EVERY_S = 10.0
"""How often the metadata of the topic is refreshed. New partitions are found by this."""
IDLE_REFRESH_S = 2.0
"""The same while no partition is open. Without these requests, no outage would be noticed then."""
STALE_REFRESH_S = 0.5
CONNECT_RETRY_S = 2.0
LAST_COMMIT_S = 1.0


class KafkaSource:
    """Consumes one topic in a group. `emit` accepts the chunks and waits while there is no room.

    `joined` is set after the first assignment from the group, even if it has no partitions. No partition is opened
    before `follow_pauses` was called.
    """

    def __init__(
        self,
        *,
        topic: str,
        group: str,
        kafka_options: dict[str, Any],
        make_opener: Callable[[Callable[[int, FetchState], None]], PartitionOpener],
        table: PartitionTable,
        status: Status,
        backoff: Backoff,
        emit: Emit,
        max_chunk_records: int,
        max_chunk_bytes: int,
    ) -> None:
        self._topic = topic
        self._table = table
        self._status = status
        self._brokers = Brokers(kafka_options, topic)
        self._fetcher = Fetcher(self._brokers, topic)
        self._opener = make_opener(self._fetcher.follow)
        self._handover = Handover(
            self._fetcher, self._opener, table, emit, min(CHUNK_RECORDS, max_chunk_records), max_chunk_bytes
        )
        self._pauses = PartitionPauses(topic, table, self._fetcher, status)
        self._outage = KafkaOutage(self._brokers, self._fetcher, status, backoff)
        self._member = GroupMember(
            self._brokers,
            group,
            topic,
            assigned=self._on_assigned,
            joined_as=status.joined_as,
            failing=self._outage.note_group,
        )
        self._membership: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._to_open = asyncio.Event()
        self._to_refresh = asyncio.Event()
        self._refreshed_at = 0.0
        self.joined = asyncio.Event()
        self._committed: dict[int, int] = {}
        self._log = structlog.get_logger()

    @property
    def pauses_followed(self) -> dict[str, str] | None:
        """The pauses that the source follows: `PartitionPauses.followed`."""
        return self._pauses.followed

    def follow_pauses(self, pauses: Pauses) -> None:
        """Stop fetching what is paused, and fetch again what no longer is."""
        first, resumed = not self._pauses.known, self._pauses.apply(pauses)
        if first or resumed:
            self._opener.look_at_once(resumed)
            self._to_open.set()

    def stop_fetching(self) -> None:
        """Stop emitting records. `run` returns soon after."""
        self._stopping.set()

    async def close(self) -> None:
        """Commit the last offsets for monitoring tools, and leave the group. Raises errors of Kafka and the network."""
        membership, self._membership = self._membership, None
        try:
            if membership is not None:
                await cancel(membership)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_COMMIT_S):
                        await self._commit()
                await self._member.leave()
                self._status.joined_as(None)
        finally:
            await self._brokers.close()

    async def run(self) -> None:
        """Fetch and emit records until `stop_fetching` is called. Waits and tries again during an outage of Kafka."""
        stop = asyncio.create_task(self._stopping.wait(), name="source-stop")
        try:
            await self._until({stop}, self._connect())
            if not self._stopping.is_set():
                # Not cancelled at the end of `run`: the worker stays a member until all fetched records are written.
                self._membership = asyncio.create_task(self._member.run(), name="group-member")
                await self._until(
                    {stop, self._membership},
                    self._fetcher.run(),
                    self._handover.run(),
                    self._open(),
                    self._keep(),
                    self._commit_now_and_then(),
                    self._watch(),
                )
        finally:
            stop.cancel()

    async def _until(self, ends: set["asyncio.Task[Any]"], *work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutines until one of them or one of `ends` has ended. Raises the error if it failed."""
        tasks = {asyncio.create_task(one) for one in work}
        try:
            done, _ = await asyncio.wait({*ends, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*tasks)
        for task in done:
            task.result()

    async def _connect(self) -> None:
        """Wait until a broker returns the metadata of the topic."""
        while True:
            try:
                await self._brokers.refresh()
                return
            except TROUBLE as error:
                self._outage.failing(describe_kafka(error))
                await asyncio.sleep(CONNECT_RETRY_S * random.uniform(0.5, 1))

    def _on_assigned(self, partitions: set[int]) -> None:
        """Apply a new assignment from the group. Partitions that stay assigned continue without a pause."""
        before = set(self._table.assigned)
        lost, gained = before - partitions, partitions - before
        self._table.revoke(lost)
        self._table.assign(gained)
        for partition in lost:
            self._fetcher.forget(partition)
            self._committed.pop(partition, None)
        self._pauses.look()
        self._opener.look_at_once(lost | gained)
        self._status.started = True
        self.joined.set()
        self._to_open.set()
        if lost:
            self._log.info(events.PARTITIONS_REVOKED, topic=self._topic, partitions=sorted(lost))
        self._log.info(events.PARTITIONS_ASSIGNED, topic=self._topic, partitions=sorted(partitions))

    async def _open(self) -> None:
        """Open the assigned partitions as soon as possible."""
        while True:
            await self._to_open.wait()
            self._to_open.clear()
            if self._outage.hidden is None and self._pauses.known:
                await self._opener.open_wanted(self._brokers)

    async def _watch(self) -> None:
        """Report outages, and partitions from which nothing can be fetched. Wake the other tasks that have work."""
        while True:
            # A hidden topic has no partitions. That is reported as an outage, not for each partition.
            unserved = self._fetcher.unserved() if self._outage.hidden is None else {}
            for partition, why in unserved.items():
                self._opener.unserved(partition, why)
            self._opener.served(self._table.positions().keys() - unserved.keys())
            self._outage.watch()
            if self._table.wanted:
                self._to_open.set()
            if self._is_refresh_due():
                self._to_refresh.set()
            await asyncio.sleep(TURN_S)

    def _is_refresh_due(self) -> bool:
        age_s = asyncio.get_running_loop().time() - self._refreshed_at
        due_s = REFRESH_EVERY_S if self._table.positions() else IDLE_REFRESH_S
        return age_s > due_s or (self._brokers.stale and age_s > STALE_REFRESH_S)

    async def _keep(self) -> None:
        """Refresh the metadata whenever it is due."""
        loop = asyncio.get_running_loop()
        self._refreshed_at = loop.time()
        while True:
            self._to_refresh.clear()
            await self._to_refresh.wait()
            await self._refresh()
            self._refreshed_at = loop.time()

    async def _commit_now_and_then(self) -> None:
        """Commit offsets to Kafka for monitoring tools. No other task waits if the coordinator does not answer."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()

    async def _refresh(self) -> None:
        try:
            await self._brokers.refresh()
            self._outage.hidden = None
        except UnknownTopicOrPartitionError:
            for partition in self._table.positions():
                self._handover.reopen(partition)
        except TopicAuthorizationFailedError as error:
            self._outage.hidden = describe_kafka(error)
        except TROUBLE:
            return  # the next refresh comes soon. `KafkaOutage` detects an outage when no broker answers

    async def _commit(self) -> None:
        positions = {
            partition: offset
            for partition, offset in self._table.positions().items()
            if self._committed.get(partition) != offset
        }
        if positions and await self._member.commit(positions):
            self._committed.update(positions)
