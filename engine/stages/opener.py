"""Opens partitions at the offsets stored in PostgreSQL, and refuses those that do not match or cannot be read.

The steps for a partition: wanted → its stored offset is read and locked → it is fetched from there → its records are
accepted. A refused partition is checked again periodically, and is opened when the cause is gone.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set

import attrs
import structlog
from aiokafka.errors import LeaderNotAvailableError

from engine.kafka.brokers import Brokers, describe_kafka
from engine.kafka.fetch_state import FetchState
from engine.kafka.fetcher import FAILING_S, LEADERLESS_S
from engine.kafka.log_bounds import LogBounds, fetch_log_bounds
from engine.kafka.partitions import CORRUPT_BATCH, NO_LEADER, OUT_OF_RANGE, TOPIC_RECREATED, PartitionTable, Refusal
from engine.kafka.stored_offset import StoredOffset
from engine.postgres.blockers import BlockerWatch
from engine.postgres.errors import ERRORS, describe, is_momentary, is_outage
from engine.postgres.link import Link
from engine.postgres.offsets import open_free_offsets, open_offset
from engine.telemetry import events

REOPEN_S = 5.0
RETRY_S = 1.0
LONGEST_TRIAL_S = 60.0
NO_LEADER_FIX = "start the brokers that have a replica of it: it is consumed again as soon as it has a leader"
_RESET = "orderflow offsets reset --partition {}"
_SKIP = "orderflow offsets skip --partition {}"


@attrs.define
class _RefusedPartition:
    """A refused partition: the offset where it was refused, and the stored offset at that time.

    At `trial_at` the partition is opened again on trial; `trials` counts how often.
    """

    stored: StoredOffset
    offset: int = 0
    trials: int = 0
    trial_at: float = 0.0

    def is_unchanged(self, stored: StoredOffset) -> bool:
        """Return whether no operator has moved the offset. The writer may have written records fetched before."""
        written = self.stored.epoch == stored.epoch and self.stored.next_offset <= stored.next_offset <= self.offset
        by_writer = written and stored.last_offset is not None  # `offsets skip` and `offsets reset` store None
        return stored == self.stored or (self.trials > 0 and by_writer)


class PartitionOpener:
    """Opens the partitions of one topic for one group. Calls `follow` with the fetch state of each opened partition."""

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
        self._check_at: dict[int, float] = {}
        self._leaderless_since: dict[int, float] = {}
        self._failing_since: dict[int, float] = {}
        self._log = structlog.get_logger()

    def look_at_once(self, moved: Iterable[int]) -> None:
        """Check all wanted partitions at once. `moved` (assigned or revoked) lose their earlier refusal."""
        for partition in moved:
            self._refused.pop(partition, None)
        self._check_at.clear()

    async def open_wanted(self, brokers: Brokers) -> None:
        """Open the wanted partitions that are due. After an outage of PostgreSQL or a broker each is tried again."""
        now = asyncio.get_running_loop().time()
        due = [partition for partition in self._table.wanted if self._check_at.get(partition, 0.0) <= now]
        if not due:
            return
        self._check_at.update(dict.fromkeys(due, now + REOPEN_S))
        known = await self._fetch_bounds(brokers, due)
        stored = await self._read_free(known) if known else {}
        if stored is None:
            self._check_at.update(dict.fromkeys(known, now + RETRY_S))
            return
        # Those whose row another session has locked come last, one by one: the others must not wait for them.
        for partition in sorted(known, key=lambda partition: partition not in stored):
            try:
                await self._open(brokers, partition, known[partition], stored.get(partition))
            except ERRORS as error:
                if not is_outage(error):
                    raise
                self._check_at[partition] = now + RETRY_S
                self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error), partition=partition)

    def _bounds_failed(self, partition: int, error: BaseException) -> None:
        now = asyncio.get_running_loop().time()
        self._check_at[partition] = now + RETRY_S
        if not isinstance(error, LeaderNotAvailableError):
            self._log.debug(events.OUTAGE_CONTINUES, of="kafka", error=describe_kafka(error), partition=partition)
            if now - self._failing_since.setdefault(partition, now) > FAILING_S:
                self.unserved(partition, f"its leader does not return its offsets: {describe_kafka(error)}")
        elif now - self._leaderless_since.setdefault(partition, now) > LEADERLESS_S:
            self.unserved(partition, "no broker leads the partition")

    async def _fetch_bounds(self, brokers: Brokers, partitions: list[int]) -> dict[int, LogBounds]:
        known: dict[int, LogBounds] = {}
        for partition, bounds in (await fetch_log_bounds(brokers, self._topic, partitions)).items():
            if isinstance(bounds, LogBounds):
                known[partition] = bounds
                self._leaderless_since.pop(partition, None)
                self._failing_since.pop(partition, None)
            else:
                self._bounds_failed(partition, bounds)
                brokers.stale = True
        return known

    async def _read_free(self, bounds: Mapping[int, LogBounds]) -> dict[int, StoredOffset] | None:
        """Return the stored offsets of the partitions whose row nobody has locked. None in an outage."""
        earliest = {partition: bound.begin for partition, bound in bounds.items()}
        try:
            async with self._link.use() as connection:
                opening = open_free_offsets(connection, self._group, self._topic, earliest)
                return await self._link.within_deadline(opening)
        except ERRORS as error:
            if not is_outage(error):
                raise
            if is_momentary(error):
                return {}  # one of the rows may be the cause: each is tried by itself
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error))
            return None

    async def _open(self, brokers: Brokers, partition: int, bounds: LogBounds, stored: StoredOffset | None) -> None:
        if stored is None:
            async with self._link.use() as connection, self._watch.guard(connection):
                stored = await self._link.within_deadline(
                    open_offset(connection, self._group, self._topic, partition, bounds.begin)
                )
        self._stored[partition] = stored
        refused = self._refused.get(partition)
        now = asyncio.get_running_loop().time()
        if refused is not None and refused.is_unchanged(stored):
            refused.stored = stored
            if refused.trial_at > now:
                return  # the next trial is not due yet
        if stored.next_offset > bounds.end:
            # Another owner may have consumed more since the end was fetched. Its last transaction has ended by now.
            again = (await fetch_log_bounds(brokers, self._topic, [partition]))[partition]
            bounds = again if isinstance(again, LogBounds) else bounds
        if not bounds.begin <= stored.next_offset <= bounds.end:
            self._out_of_range(partition, stored.next_offset, bounds)
            return
        start, last_consumed = stored.next_offset, None
        if stored.last_offset is not None and stored.last_offset >= bounds.begin:
            start, last_consumed = stored.last_offset, stored
        on_trial = refused is not None and refused.is_unchanged(stored) and refused.trials > 0
        opened = self._table.open(partition, stored.next_offset, stored.epoch, on_trial=on_trial)
        if opened is None:
            return  # revoked or paused while it was being opened
        if not on_trial:
            self._refused.pop(partition, None)
        self._check_at.pop(partition, None)
        self._follow(partition, FetchState(opened.opening, opened.epoch, start, stored.next_offset, last_consumed))
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
        """Refuse a partition whose record at `offset` is not the record that was consumed at that offset."""
        detail = (
            "the topic is not the one that was consumed before: "
            "it was deleted and created again, or its log was truncated and written again"
        )
        self._refuse(partition, Refusal(TOPIC_RECREATED, offset, detail, _RESET.format(partition)))

    def corrupt(self, partition: int, offset: int, why: str) -> None:
        """Refuse a partition whose batch at `offset` cannot be read, even after it was fetched several times."""
        detail = f"the batch at offset {offset} cannot be read: {why}"
        self._refuse(partition, Refusal(CORRUPT_BATCH, offset, detail, _SKIP.format(partition)))

    def unserved(self, partition: int, why: str) -> None:
        """Report that a partition has no leader, or a failing leader. It stays open and is consumed when this ends."""
        refusal = Refusal(NO_LEADER, None, why, NO_LEADER_FIX)
        before = self._table.refusal(partition)
        if (before is None or before.reason == NO_LEADER) and self._table.set_refusal(partition, refusal):
            self._log_refusal(partition, refusal)

    def served(self, partitions: Set[int]) -> None:
        """Clear the refusals that `unserved` has set for these partitions: they have a working leader."""
        refused = self._table.refused
        for partition in refused.keys() & partitions:
            if refused[partition].reason == NO_LEADER:
                self._table.clear_refusal(partition)

    def clear_refusal(self, partition: int) -> None:
        """Clear the refusal of a partition, because its records could be read."""
        self._table.clear_refusal(partition)
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
        if refused is None or not refused.is_unchanged(stored):
            refused = self._refused[partition] = _RefusedPartition(stored)
        refused.offset = refusal.offset or 0
        if refusal.reason == CORRUPT_BATCH:
            # After another replica takes over, or the segment is restored, the batch may be readable.
            refused.trial_at = now + min(REOPEN_S * 2**refused.trials, LONGEST_TRIAL_S)
            refused.trials = min(refused.trials + 1, 10)
        elif refusal.reason == TOPIC_RECREATED:
            refused.trial_at = float("inf")  # an operator must decide, by moving the stored offset
        self._check_at[partition] = now + REOPEN_S
        if self._table.refuse(partition, refusal):
            self._log_refusal(partition, refusal)

    def _log_refusal(self, partition: int, refusal: Refusal) -> None:
        self._log.error(
            events.PARTITION_REFUSED,
            topic=self._topic,
            partition=partition,
            reason=refusal.reason,
            offset=refusal.offset,
            detail=refusal.detail,
            fix=refusal.fix,
        )
