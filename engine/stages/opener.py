"""Opens partitions at PostgreSQL's offsets, and refuses those that are not as stored or cannot be read.

What happens to one partition: wanted → its stored offset is read and locked → it is fetched from there → its records
count. A refused one is looked at again and again, and opened once its cause is gone.
"""

import asyncio
from collections.abc import Callable, Iterable

import asyncpg
import attrs
import structlog
from aiokafka.errors import LeaderNotAvailableError

from engine.kafka.brokers import Brokers, describe_kafka
from engine.kafka.fetcher import FAILING_S, LEADERLESS_S, FetchState
from engine.kafka.log_bounds import LogBounds, fetch_log_bounds
from engine.kafka.partitions import CORRUPT_BATCH, NO_LEADER, OUT_OF_RANGE, TOPIC_RECREATED, PartitionTable, Refusal
from engine.kafka.stored_offset import StoredOffset
from engine.postgres.blockers import BlockerWatch
from engine.postgres.link import Link, describe, is_outage
from engine.postgres.offsets import open_offset
from engine.telemetry import events

REOPEN_S = 5.0
RETRY_S = 1.0
LONGEST_TRIAL_S = 60.0
NO_LEADER_FIX = "start the brokers that hold it: it is consumed by itself once it has a leader"
_RESET = "orderflow offsets reset --partition {}"
_SKIP = "orderflow offsets skip --partition {}"


@attrs.define
class _RefusedPartition:
    """A partition that was refused at `offset`, with `stored` in PostgreSQL, and when the broker is tried again."""

    stored: StoredOffset
    offset: int = 0
    trials: int = 0
    trial_at: float = 0.0

    def still(self, stored: StoredOffset) -> bool:
        """Whether nobody but the writer has moved the offset: what was on its way when it was refused."""
        written = self.stored.epoch == stored.epoch and self.stored.next_offset <= stored.next_offset <= self.offset
        by_writer = written and stored.last_offset is not None  # whoever skips or resets leaves none
        return stored == self.stored or (self.trials > 0 and by_writer)


class PartitionOpener:
    """Opens the partitions of one topic for one group. `follow` is given where an open one is to be fetched from."""

    def __init__(
        self,
        topic: str,
        group: str,
        link: Link,
        watch: BlockerWatch,
        table: PartitionTable,
        follow: Callable[[int, FetchState], None],
    ) -> None:
        self._topic = topic
        self._group = group
        self._link = link
        self._watch = watch
        self._table = table
        self._follow = follow
        self._stored: dict[int, StoredOffset] = {}
        self._refused: dict[int, _RefusedPartition] = {}
        self._look_at: dict[int, float] = {}
        self._leaderless_since: dict[int, float] = {}
        self._failing_since: dict[int, float] = {}
        self._log = structlog.get_logger()

    def look_at_once(self, moved: Iterable[int]) -> None:
        """Look at every wanted partition at once, and forget what was wrong with those that came or went."""
        for partition in moved:
            self._refused.pop(partition, None)
        self._look_at.clear()

    async def open_wanted(self, brokers: Brokers) -> None:
        """Open what is wanted and due. Outages of PostgreSQL, and of brokers, are waited out partition by partition."""
        now = asyncio.get_running_loop().time()
        due = [partition for partition in self._table.wanted if self._look_at.get(partition, 0.0) <= now]
        if not due:
            return
        self._look_at.update(dict.fromkeys(due, now + REOPEN_S))
        bounds = await fetch_log_bounds(brokers, self._topic, due)
        for partition in due:
            found = bounds[partition]
            if not isinstance(found, LogBounds):
                self._cannot_ask(partition, found)
                brokers.stale = True
                continue
            self._leaderless_since.pop(partition, None)
            self._failing_since.pop(partition, None)
            try:
                await self._open(brokers, partition, found)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not is_outage(error):
                    raise
                self._look_at[partition] = now + RETRY_S
                self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error), partition=partition)

    def _cannot_ask(self, partition: int, error: BaseException) -> None:
        now = asyncio.get_running_loop().time()
        self._look_at[partition] = now + RETRY_S
        if not isinstance(error, LeaderNotAvailableError):
            self._log.debug(events.OUTAGE_CONTINUES, of="kafka", error=describe_kafka(error), partition=partition)
            if now - self._failing_since.setdefault(partition, now) > FAILING_S:
                self.unserved(partition, f"its leader does not tell its offsets: {describe_kafka(error)}")
        elif now - self._leaderless_since.setdefault(partition, now) > LEADERLESS_S:
            self.unserved(partition, "no broker leads the partition")

    async def _open(self, brokers: Brokers, partition: int, bounds: LogBounds) -> None:
        async with self._link.use() as connection, self._watch.over(connection):
            stored = await self._link.within_deadline(
                open_offset(connection, self._group, self._topic, partition, bounds.begin)
            )
        self._stored[partition] = stored
        refused = self._refused.get(partition)
        now = asyncio.get_running_loop().time()
        if refused is not None and refused.still(stored):
            refused.stored = stored
            if refused.trial_at > now:
                return  # the broker was asked not long ago
        if stored.next_offset > bounds.end:
            # Another owner may have gone on since the end was asked for; its last transaction was waited for.
            again = (await fetch_log_bounds(brokers, self._topic, [partition]))[partition]
            bounds = again if isinstance(again, LogBounds) else bounds
        if not bounds.begin <= stored.next_offset <= bounds.end:
            self._out_of_range(partition, stored.next_offset, bounds)
            return
        start, recognise = stored.next_offset, None
        if stored.last_offset is not None and stored.last_offset >= bounds.begin:
            start, recognise = stored.last_offset, stored
        on_trial = refused is not None and refused.still(stored) and refused.trials > 0
        opened = self._table.open(partition, stored.next_offset, stored.epoch, on_trial=on_trial)
        if opened is None:
            return  # revoked while it was being opened
        if not on_trial:
            self._refused.pop(partition, None)
        self._look_at.pop(partition, None)
        self._follow(partition, FetchState(opened.opening, opened.epoch, start, stored.next_offset, recognise))
        if not on_trial:
            self._log_opened(partition)

    def _out_of_range(self, partition: int, offset: int, bounds: LogBounds) -> None:
        detail = f"stored offset {offset} is outside the broker's {bounds.begin} to {bounds.end}"
        self._refuse(partition, Refusal(OUT_OF_RANGE, offset, detail, _RESET.format(partition)))

    def out_of_range(self, partition: int, offset: int) -> None:
        """Refuse a partition whose offset the broker no longer has."""
        detail = f"the broker no longer has offset {offset}"
        self._refuse(partition, Refusal(OUT_OF_RANGE, offset, detail, _RESET.format(partition)))

    def recreated(self, partition: int, offset: int) -> None:
        """Refuse a partition whose record at `offset` is not the one that was consumed there."""
        detail = (
            "the topic is not the one that was consumed before: "
            "it was deleted and created anew, or its log was cut off and filled again"
        )
        self._refuse(partition, Refusal(TOPIC_RECREATED, offset, detail, _RESET.format(partition)))

    def corrupt(self, partition: int, offset: int, why: str) -> None:
        """Refuse a partition whose batch at `offset` cannot be read, however often it is fetched."""
        detail = f"the batch at offset {offset} cannot be read: {why}"
        self._refuse(partition, Refusal(CORRUPT_BATCH, offset, detail, _SKIP.format(partition)))

    def unserved(self, partition: int, why: str) -> None:
        """Tell that a partition has no leader, or one that fails. It is consumed as soon as that is over."""
        refusal = Refusal(NO_LEADER, None, why, NO_LEADER_FIX)
        before = self._table.refused.get(partition)
        if (before is None or before.reason == NO_LEADER) and self._table.trouble(partition, refusal):
            self._tell(partition, refusal)

    def served(self, partitions: Iterable[int]) -> None:
        """Take back, for these partitions, that they have no leader, or one that fails."""
        for partition in partitions:
            refusal = self._table.refused.get(partition)
            if refusal is not None and refusal.reason == NO_LEADER:
                self._table.well(partition)

    def well(self, partition: int) -> None:
        """Note that a partition is read on, whatever was wrong before."""
        self._table.well(partition)
        refused = self._refused.pop(partition, None)
        if refused is not None and refused.trials:
            self._log_opened(partition)

    def _log_opened(self, partition: int) -> None:
        offset = self._stored[partition].next_offset
        self._log.info(events.PARTITION_OPENED, topic=self._topic, partition=partition, offset=offset)

    def _refuse(self, partition: int, refusal: Refusal) -> None:
        now = asyncio.get_running_loop().time()
        stored = self._stored[partition]
        refused = self._refused.get(partition)
        if refused is None or not refused.still(stored):
            refused = self._refused[partition] = _RefusedPartition(stored)
        refused.offset = refusal.offset or 0
        if refusal.reason == CORRUPT_BATCH:
            # Another replica that takes over, or a segment that was restored, may be sound.
            refused.trial_at = now + min(REOPEN_S * 2**refused.trials, LONGEST_TRIAL_S)
            refused.trials = min(refused.trials + 1, 10)
        elif refusal.reason == TOPIC_RECREATED:
            refused.trial_at = float("inf")  # only whoever moves the stored offset can say what is to be consumed
        self._look_at[partition] = now + REOPEN_S
        if self._table.refuse(partition, refusal):
            self._tell(partition, refusal)

    def _tell(self, partition: int, refusal: Refusal) -> None:
        self._log.error(
            events.PARTITION_REFUSED,
            topic=self._topic,
            partition=partition,
            reason=refusal.reason,
            offset=refusal.offset,
            detail=refusal.detail,
            fix=refusal.fix,
        )
