"""Moves a partition past a batch that nobody can read: finds where it ends, and says so only if that is certain."""

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
"""So many offsets are asked for, one after the other, behind one that the broker does not find."""
_SKIP = """
UPDATE consumed_offsets
SET next_offset = $5, last_offset = NULL, last_timestamp = NULL, last_checksum = NULL, updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next_offset = $4
"""


@attrs.frozen
class Skip:
    """What is left out for ever: the offsets from `begin` to just before `end`, which is consumed next.

    Nothing, where the two are the same: what cannot be read was consumed before, and is not compared any more.
    """

    partition: int
    begin: int
    end: int


@attrs.frozen
class _Seen:
    """What a broker gives from an offset on, None for nothing: sound up to `sound_to`, and maybe `broken` there."""

    answer: FetchedPartition | None
    sound_to: int
    broken: bool


async def plan_skip(connection: Connection, settings: Settings, partition: int, target: int | None) -> Skip:
    """Find the broken batch that stops a partition, and its end, or take `target` as that. Changes nothing.

    Raises `Failed` when no broken batch stops the partition, or its end cannot be told for certain and none is given.
    """
    rows = {row["partition"]: row for row in await stored_offsets(connection, settings)}
    if partition not in rows:
        raise Failed(f"the group {settings.kafka_group_id!r} has no offset in partition {partition}: nothing to skip")
    row = rows[partition]
    begin = row["next_offset"]
    async with connected(settings) as brokers:
        log = (await fetch_log_bounds(brokers, settings.kafka_topic, [partition]))[partition]
        if not isinstance(log, LogBounds):
            raise Failed(f"partition {partition} cannot be asked for its offsets now: {describe_kafka(log)}")
        search = _Search(brokers, settings.kafka_topic, partition, begin, log)
        if await topic_changed(brokers, settings, row, log):
            raise await search.another_record()
        return Skip(partition, begin, await search.end(row["last_offset"], target))


async def apply_skip(connection: Connection, settings: Settings, skip: Skip) -> None:
    """Store the offset behind what is skipped. Raises `Failed` if a worker has gone on meanwhile."""
    key = (settings.kafka_group_id, settings.kafka_topic, skip.partition)
    if await connection.execute(_SKIP, *key, skip.begin, skip.end) != "UPDATE 1":
        raise Failed(f"the offset of partition {skip.partition} has moved meanwhile: nothing was changed")


@attrs.frozen
class _Search:
    """Looks for the end of what is broken at `begin`, the partition's next offset."""

    brokers: Brokers
    topic: str
    partition: int
    begin: int
    log: LogBounds

    async def end(self, last: int | None, target: int | None) -> int:
        """Return the offset that is consumed next; `last` is the one that was consumed last, if that is known.

        Raises `Failed` as `plan_skip` does.
        """
        if not self.log.begin <= self.begin <= self.log.end:
            raise self._nothing_broken()
        here, before = await self._see(self.begin), None
        if last is not None and self.log.begin <= last < self.begin:
            # As the engine does: a batch that is sound by itself may not fit the one before it.
            before = await self._see(last)
        consumed_is_broken = before is not None and before.broken and before.sound_to < self.begin
        found = here if before is None or consumed_is_broken or not before.broken else before
        if not found.broken and not consumed_is_broken:
            raise self._nothing_broken()
        if not found.broken and target is None:
            return self.begin
        if found.broken and found.sound_to > self.begin:
            raise Failed(
                f"offsets {self.begin} to {found.sound_to - 1} of partition {self.partition} are sound and not "
                "consumed yet, and a broken batch follows: start the engine, and skip once it has stored them"
            )
        if target is not None and not self.begin < target <= self.log.end:
            raise Failed(
                f"--to must be an offset from {self.begin + 1} to {self.log.end} in partition {self.partition}"
            )
        return target if target is not None else await self._certain_end(here)

    async def another_record(self) -> Failed:
        """Return what to say where the record that was consumed last is another one now."""
        found = await self._see(self.begin)
        raw = next(split_batches(found.answer.data), None) if found.answer is not None else None
        claimed = claimed_offsets(raw) if raw is not None else None
        if claimed is not None and claimed[0] < self.begin < claimed[1]:
            return self._claimed_twice(*claimed)
        return self._nothing_broken()

    def _claimed_twice(self, first: int, behind: int) -> Failed:
        return Failed(
            f"the batch at offset {self.begin} of partition {self.partition} says that it has offsets {first} to "
            f"{behind - 1}, of which the one before it has some: "
            f"`orderflow offsets reset --partition {self.partition} --to {first}` consumes it from its beginning, "
            f"and --to {behind} leaves it out"
        )

    def _nothing_broken(self) -> Failed:
        return Failed(
            f"no broken batch stops partition {self.partition} at its next offset, {self.begin}: nothing was changed. "
            f"`orderflow offsets reset --partition {self.partition} --to OFFSET` moves it anywhere"
        )

    async def _see(self, offset: int) -> _Seen:
        try:
            answer = await fetch_at(self.brokers, self.topic, self.partition, offset)
        except CorruptRecordException:
            return _Seen(None, offset, broken=True)
        except OffsetOutOfRangeError:
            raise self._nothing_broken() from None
        if not answer.data:
            return _Seen(None, offset, broken=offset < self.log.end)
        sound_to = offset
        try:
            for piece in answer.pieces(_MAX_RECORDS, _MAX_BYTES):
                sound_to = piece.next_offset
        except CorruptBatch as error:
            return _Seen(answer, error.offset, broken=True)
        return _Seen(answer, sound_to, broken=False)

    async def _certain_end(self, here: _Seen) -> int:
        """Return the offset behind the batch at `begin`, where the broker gives what is `here`.

        Raises `Failed` unless what follows confirms what the batch says.
        """
        if here.answer is None:
            return await self._first_that_is_found()
        raws = list(split_batches(here.answer.data))
        if here.sound_to > self.begin:
            raise self._claimed_twice(*claimed_offsets(raws[0]) or (self.begin, here.sound_to))
        end = await self._confirmed(raws)
        if end is None:
            raise Failed(
                f"where the broken batch at offset {self.begin} of partition {self.partition} ends cannot be told for "
                "certain: say which offset is consumed next with --to OFFSET"
            )
        return end

    async def _confirmed(self, raws: list[memoryview]) -> int | None:
        claimed = claimed_offsets(raws[0]) if raws else None
        if claimed is None:
            return None
        first, behind = claimed
        if first > self.begin and len(raws) > 1:
            # Only where it begins is spoilt: it reaches to where the next one begins, if its size says the same.
            reaches = self.begin + behind - first
            return reaches if _begins_at(raws[1], reaches) else None
        if not first <= self.begin < behind <= self.log.end:
            return None
        if behind == self.log.end:
            return behind
        try:
            follows = await fetch_at(self.brokers, self.topic, self.partition, behind)
        except CorruptRecordException:
            return None
        raw = next(split_batches(follows.data), None)
        return behind if raw is not None and _begins_at(raw, behind) else None

    async def _first_that_is_found(self) -> int:
        """Return the next offset at which the broker gives records: at `begin` it does not find any."""
        for offset in range(self.begin + 1, min(self.log.end, self.begin + _LOOK_AHEAD)):
            if (await self._see(offset)).answer is not None:
                return offset
        if self.log.end - self.begin <= _LOOK_AHEAD:
            return self.log.end
        raise Failed(
            f"the broker finds none of the {_LOOK_AHEAD} offsets behind {self.begin} of partition {self.partition}: "
            "say which offset is consumed next with --to OFFSET"
        )


def _begins_at(raw: memoryview, offset: int) -> bool:
    """Whether a batch can be read, and says that it begins at an offset."""
    try:
        open_batch(raw, offset)
    except CorruptBatch:
        return False
    claimed = claimed_offsets(raw)
    return claimed is not None and claimed[0] == offset
