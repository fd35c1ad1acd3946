"""Skips a batch that cannot be read: finds its end, but only uses an end that is certain."""

import attrs
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError
from asyncpg import Connection

from engine.kafka.brokers import Brokers, describe_kafka
from engine.kafka.log_bounds import LogBounds, fetch_log_bounds
from engine.kafka.record_batches import CorruptBatch, FetchedPartition, claimed_offsets, open_batch, split_batches
from engine.kafka.single_fetch import fetch_at
from orderflow.exits import Failed
from orderflow.operating.offset_reset import connected, stored_offsets, topic_changed
from orderflow.start.settings import Settings

_MAX_RECORDS, _MAX_BYTES = 1000, 1 << 20
_LOOK_AHEAD = 10_000
"""How many offsets are tried, one by one, after an offset that the broker does not find."""
_SKIP = """
UPDATE consumed_offsets
SET next_offset = $5, last_offset = NULL, last_timestamp = NULL, last_checksum = NULL, updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next_offset = $4
"""


@attrs.frozen
class Skip:
    """The offsets to skip: from `begin` up to, but not including, `end`, which is consumed next.

    If both are equal, nothing is skipped: the unreadable batch was already consumed, and is no longer compared.
    """

    partition: int
    begin: int
    end: int


@attrs.frozen
class _Fetched:
    """A broker's answer from an offset on (None: no data). It is intact up to `intact_to`, and maybe `broken` there."""

    answer: FetchedPartition | None
    intact_to: int
    broken: bool


async def plan_skip(connection: Connection, settings: Settings, partition: int, target: int | None) -> Skip:
    """Find the broken batch that stops a partition, and its end, or use `target` as its end. Changes nothing.

    Raises `Failed` when no broken batch stops the partition, or its end is uncertain and `target` is None.
    """
    rows = {row["partition"]: row for row in await stored_offsets(connection, settings)}
    if partition not in rows:
        raise Failed(f"the group {settings.kafka_group_id!r} has no offset in partition {partition}: nothing to skip")
    row = rows[partition]
    begin = row["next_offset"]
    async with connected(settings) as brokers:
        log = (await fetch_log_bounds(brokers, settings.kafka_topic, [partition]))[partition]
        if not isinstance(log, LogBounds):
            raise Failed(f"the offsets of partition {partition} cannot be read now: {describe_kafka(log)}")
        search = _Search(brokers, settings.kafka_topic, partition, begin, log)
        if await topic_changed(brokers, settings, row, log):
            raise await search.changed_record()
        return Skip(partition, begin, await search.end(row["last_offset"], target))


async def apply_skip(connection: Connection, settings: Settings, skip: Skip) -> None:
    """Store the offset after the skipped ones. Raises `Failed` if the offset has changed meanwhile."""
    key = (settings.kafka_group_id, settings.kafka_topic, skip.partition)
    if await connection.execute(_SKIP, *key, skip.begin, skip.end) != "UPDATE 1":
        raise Failed(f"the offset of partition {skip.partition} has changed meanwhile: nothing was changed")


@attrs.frozen
class _Search:
    """Finds the end of the broken batch at `begin`, the partition's next offset."""

    brokers: Brokers
    topic: str
    partition: int
    begin: int
    log: LogBounds

    async def end(self, last: int | None, target: int | None) -> int:
        """Return the offset to consume next; `last` is the last consumed offset, or None if it is unknown.

        Raises `Failed` as `plan_skip` does.
        """
        if not self.log.begin <= self.begin <= self.log.end:
            raise self._nothing_broken()
        here, before = await self._fetch(self.begin), None
        if last is not None and self.log.begin <= last < self.begin:
            # As the engine does: an intact batch may still not fit the batch before it.
            before = await self._fetch(last)
        consumed_is_broken = before is not None and before.broken and before.intact_to < self.begin
        found = here if before is None or consumed_is_broken or not before.broken else before
        if not found.broken and not consumed_is_broken:
            raise self._nothing_broken()
        if not found.broken and target is None:
            return self.begin
        if found.broken and found.intact_to > self.begin:
            raise Failed(
                f"offsets {self.begin} to {found.intact_to - 1} of partition {self.partition} are intact and not "
                "consumed yet, and a broken batch follows them: start the engine, and skip after it has stored them"
            )
        if target is not None and not self.begin < target <= self.log.end:
            raise Failed(
                f"--to must be an offset from {self.begin + 1} to {self.log.end} in partition {self.partition}"
            )
        return target if target is not None else await self._certain_end(here)

    async def changed_record(self) -> Failed:
        """Return the error for a last consumed record that has changed."""
        found = await self._fetch(self.begin)
        raw = next(split_batches(found.answer.data), None) if found.answer is not None else None
        claimed = claimed_offsets(raw) if raw is not None else None
        if claimed is not None and claimed[0] < self.begin < claimed[1]:
            return self._claimed_twice(*claimed)
        return self._nothing_broken()

    def _claimed_twice(self, first: int, behind: int) -> Failed:
        return Failed(
            f"the batch at offset {self.begin} of partition {self.partition} claims the offsets {first} to "
            f"{behind - 1}, which overlap the batch before it: "
            f"`orderflow offsets reset --partition {self.partition} --to {first}` consumes it from its beginning, "
            f"and --to {behind} skips it"
        )

    def _nothing_broken(self) -> Failed:
        return Failed(
            f"no broken batch stops partition {self.partition} at its next offset, {self.begin}: nothing was changed. "
            f"`orderflow offsets reset --partition {self.partition} --to OFFSET` sets any next offset"
        )

    async def _fetch(self, offset: int) -> _Fetched:
        try:
            answer = await fetch_at(self.brokers, self.topic, self.partition, offset)
        except CorruptRecordException:
            return _Fetched(None, offset, broken=True)
        except OffsetOutOfRangeError:
            raise self._nothing_broken() from None
        if not answer.data:
            return _Fetched(None, offset, broken=offset < self.log.end)
        intact_to = offset
        try:
            for piece in answer.pieces(_MAX_RECORDS, _MAX_BYTES):
                intact_to = piece.next_offset
        except CorruptBatch as error:
            return _Fetched(answer, error.offset, broken=True)
        return _Fetched(answer, intact_to, broken=False)

    async def _certain_end(self, here: _Fetched) -> int:
        """Return the offset after the batch at `begin`; `here` is the broker's answer from there.

        Raises `Failed` unless the following batch confirms the end that the batch claims.
        """
        if here.answer is None:
            return await self._next_found_offset()
        raws = list(split_batches(here.answer.data))
        if here.intact_to > self.begin:
            raise self._claimed_twice(*claimed_offsets(raws[0]) or (self.begin, here.intact_to))
        end = await self._confirmed(raws)
        if end is None:
            raise Failed(
                f"the end of the broken batch at offset {self.begin} of partition {self.partition} is uncertain: "
                "set the next offset with --to OFFSET"
            )
        return end

    async def _confirmed(self, raws: list[memoryview]) -> int | None:
        claimed = claimed_offsets(raws[0]) if raws else None
        if claimed is None:
            return None
        first, behind = claimed
        if first > self.begin and len(raws) > 1:
            # Only its base offset is damaged: its length confirms where the next batch begins.
            end = self.begin + behind - first
            return end if _begins_at(raws[1], end) else None
        if not first <= self.begin < behind <= self.log.end:
            return None
        if behind == self.log.end:
            return behind
        try:
            following = await fetch_at(self.brokers, self.topic, self.partition, behind)
        except CorruptRecordException:
            return None
        raw = next(split_batches(following.data), None)
        return behind if raw is not None and _begins_at(raw, behind) else None

    async def _next_found_offset(self) -> int:
        """Return the next offset at which the broker finds records: at `begin` it finds none."""
        for offset in range(self.begin + 1, min(self.log.end, self.begin + _LOOK_AHEAD)):
            if (await self._fetch(offset)).answer is not None:
                return offset
        if self.log.end - self.begin <= _LOOK_AHEAD:
            return self.log.end
        raise Failed(
            f"the broker finds none of the {_LOOK_AHEAD} offsets after {self.begin} of partition {self.partition}: "
            "set the next offset with --to OFFSET"
        )


def _begins_at(raw: memoryview, offset: int) -> bool:
    """Return whether a batch can be read, and begins at this offset."""
    try:
        open_batch(raw, offset)
    except CorruptBatch:
        return False
    claimed = claimed_offsets(raw)
    return claimed is not None and claimed[0] == offset
