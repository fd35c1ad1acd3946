"""The Kafka end of a worker: what the group assigns is opened, fetched, and handed on in chunks of records.

The source knows its own position in each partition. It moves only over what was fetched there: records that are handed
on, and what lies between them and counts for nothing (markers and aborted batches of transactions, offsets that
compaction took away). Kafka's committed offset is for tools only.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from engine.actors.backoff import Backoff
from engine.actors.status import Status
from engine.kafka.brokers import TROUBLE, Brokers, describe_kafka
from engine.kafka.fetcher import Fetcher, FetchState
from engine.kafka.group_member import GroupMember
from engine.kafka.outage import KafkaOutage
from engine.kafka.partitions import PartitionTable
from engine.stages.handover import Emit, Handover
from engine.stages.opener import PartitionOpener
from engine.telemetry import events

CHUNK_RECORDS = 25
"""How many records are handled in one go. An answer from PostgreSQL that the writer waits for waits so long, too."""
TURN_S = 0.1
COMMIT_EVERY_S = 1.0
REFRESH_EVERY_S = 10.0
"""How old what is known of the topic's partitions may be: those that were added are consumed soon after."""
IDLE_REFRESH_S = 2.0
"""The same while nothing is fetched: whoever waits for the group, and asks for nothing else, hears of an outage so."""
STALE_REFRESH_S = 0.5
LAST_COMMIT_S = 1.0


class KafkaSource:
    """Consumes one topic in a group. `emit` takes the chunks and waits when there is no room.

    `joined` is set once the group has given this worker its share, be it nothing.
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
        self._assigned = asyncio.Event()
        self.joined = asyncio.Event()
        self._committed: dict[int, int] = {}
        self._log = structlog.get_logger()

    def stop_fetching(self) -> None:
        """Stop handing on records. `run` returns soon after."""
        self._stopping.set()

    async def close(self) -> None:
        """Commit the last offsets for the tools, and leave the group. Raises Kafka's errors and the network's."""
        membership, self._membership = self._membership, None
        try:
            if membership is not None:
                membership.cancel()
                await asyncio.gather(membership, return_exceptions=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_COMMIT_S):
                        await self._commit()
                await self._member.leave()
                self._status.joined_as(None)
        finally:
            await self._brokers.close()

    async def run(self) -> None:
        """Fetch and hand on records until `stop_fetching`. Outages of Kafka are waited out."""
        stop = asyncio.create_task(self._stopping.wait(), name="source-stop")
        try:
            await self._until({stop}, self._connect())
            if not self._stopping.is_set():
                # Beyond the end of this: the worker is a member until all that was fetched is written.
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
        """Do the work until the first of it, or of `ends`, is over. Raises what that one failed with."""
        tasks = {asyncio.create_task(one) for one in work}
        try:
            done, _ = await asyncio.wait({*ends, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _connect(self) -> None:
        """Wait until a broker tells of the topic."""
        attempt = 0
        while True:
            try:
                await self._brokers.refresh()
                return
            except TROUBLE as error:
                attempt += 1
                await asyncio.sleep(self._outage.declare(describe_kafka(error), attempt))

    def _on_assigned(self, partitions: set[int]) -> None:
        """Take the group's new assignment over. What stays goes on without a pause."""
        before = set(self._table.assigned)
        lost, gained = before - partitions, partitions - before
        self._table.revoke(lost)
        self._table.assign(gained)
        for partition in lost:
            self._fetcher.forget(partition)
            self._committed.pop(partition, None)
        self._opener.look_at_once(lost | gained)
        self._status.started = True
        self.joined.set()
        self._assigned.set()
        if lost:
            self._log.info(events.PARTITIONS_REVOKED, topic=self._topic, partitions=sorted(lost))
        self._log.info(events.PARTITIONS_ASSIGNED, topic=self._topic, partitions=sorted(partitions))

    async def _open(self) -> None:
        """Open what is assigned, as soon as that is possible."""
        while True:
            self._assigned.clear()
            if self._outage.hidden is None:
                await self._opener.open_wanted(self._brokers)
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    await self._assigned.wait()

    async def _watch(self) -> None:
        """Tell of outages, and of partitions of which nothing is fetched."""
        while True:
            await asyncio.sleep(TURN_S)
            # A topic that is hidden has no partitions at all: that is told as what it is.
            unserved = self._fetcher.unserved() if self._outage.hidden is None else {}
            for partition, why in unserved.items():
                self._opener.unserved(partition, why)
            self._opener.served(self._table.positions().keys() - unserved.keys())
            self._outage.watch()

    async def _keep(self) -> None:
        """Keep what is known of the brokers fresh."""
        loop = asyncio.get_running_loop()
        refreshed_at = loop.time()
        while True:
            await asyncio.sleep(TURN_S)
            age_s = loop.time() - refreshed_at
            due_s = REFRESH_EVERY_S if self._table.positions() else IDLE_REFRESH_S
            if age_s > due_s or (self._brokers.stale and age_s > STALE_REFRESH_S):
                await self._refresh()
                refreshed_at = loop.time()

    async def _commit_now_and_then(self) -> None:
        """Commit for the tools. A coordinator that does not answer holds up nothing else."""
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
            return  # it is asked again soon; an outage is told by its silence

    async def _commit(self) -> None:
        positions = {
            partition: offset
            for partition, offset in self._table.positions().items()
            if self._committed.get(partition) != offset
        }
        if positions and await self._member.commit(positions):
            self._committed.update(positions)
