"""The partitions that this worker may write, and their next offsets. Pure state, no I/O.

A partition is `wanted` from its assignment until it is opened. To open it, its offset is read from PostgreSQL, and the
fetcher starts there. Records are accepted only if they were fetched under the current opening. Records from an earlier
opening are dropped, because they may start at any offset.

A paused partition is not wanted, and not fetched. If it is open, the records that were passed on before are still
accepted; it is opened again when it is resumed.
"""

from collections.abc import Set

import attrs

CORRUPT_BATCH = "corrupt_batch"
OUT_OF_RANGE = "out_of_range"
TOPIC_RECREATED = "topic_recreated"
NO_LEADER = "no_leader"


@attrs.frozen
class Refusal:
    """Why a partition is not consumed: `reason` for programs, `detail` for people, and the offset, if there is one.

    `fix` says how to correct it, for example a command.
    """

    reason: str
    offset: int | None
    detail: str
    fix: str


@attrs.define
class OpenPartition:
    """An open partition: the number of the opening, the next offset to write, and the epoch of the topic."""

    opening: int
    next_offset: int
    epoch: int


class PartitionTable:
    """The partitions assigned to this worker. Each is wanted, open or paused, and may have a refusal.

    `writing` are the partitions of the batch that is being written. Some may have been revoked meanwhile.
    """

    def __init__(self) -> None:
        self._assigned: set[int] = set()
        self._open: dict[int, OpenPartition] = {}
        self._refused: dict[int, Refusal] = {}
        self._paused: dict[int, int] = {}
        self._openings = 0
        self.writing: Set[int] = frozenset()

    @property
    def assigned(self) -> list[int]:
        """The partitions that the group assigned to this worker, sorted."""
        return sorted(self._assigned)

    @property
    def wanted(self) -> list[int]:
        """The partitions that wait to be opened, sorted. They include refused ones, which are tried again."""
        return sorted(self._assigned - self._open.keys() - self._paused.keys())

    @property
    def paused(self) -> list[int]:
        """The assigned partitions that are paused, sorted."""
        return sorted(self._paused)

    @property
    def undrained(self) -> list[int]:
        """The partitions that are not fetched any more, with records that are not written yet, sorted.

        They are paused, or were revoked while they were being written.
        """
        ends = ((partition, self.next_offset(partition), end) for partition, end in self._paused.items())
        waiting = {partition for partition, next_offset, end in ends if next_offset is not None and next_offset < end}
        return sorted(waiting | (self.writing - (self._assigned - self._paused.keys())))

    @property
    def refused(self) -> dict[int, Refusal]:
        """The partitions that are not consumed, with the reason."""
        return dict(self._refused)

    def refusal(self, partition: int) -> Refusal | None:
        """Return why a partition is not consumed, or None."""
        return self._refused.get(partition)

    def assign(self, partitions: set[int]) -> None:
        """Add newly assigned partitions. They are wanted until they are opened."""
        for partition in partitions:
            self._open.pop(partition, None)
            self._refused.pop(partition, None)
        self._assigned |= partitions

    def revoke(self, partitions: set[int]) -> None:
        """Remove partitions that the group has revoked. From now on none of their records are accepted."""
        self._assigned -= partitions
        for partition in partitions:
            self._open.pop(partition, None)
            self._refused.pop(partition, None)
            self._paused.pop(partition, None)

    def pause(self, partition: int, end: int) -> None:
        """Pause an assigned partition. `end` is the offset after the last record that was passed on, 0 if none was.

        A refusal ends: nobody looks whether its cause is gone. On resuming, the partition is looked at anew.
        """
        self._paused[partition] = end
        self._refused.pop(partition, None)

    def resume(self, partition: int) -> None:
        """End the pause of a partition. It is wanted: records that were passed on before the pause are dropped."""
        if self._paused.pop(partition, None) is not None:
            self.close(partition)

    def open(self, partition: int, next_offset: int, epoch: int, *, on_trial: bool = False) -> OpenPartition | None:
        """Open an assigned partition at `next_offset`. Returns None if it has been revoked or paused.

        With `on_trial` the partition stays refused until `clear_refusal` is called.
        """
        if partition not in self._assigned or partition in self._paused:
            return None
        self._openings += 1
        if not on_trial:
            self._refused.pop(partition, None)
        self._open[partition] = OpenPartition(self._openings, next_offset, epoch)
        return self._open[partition]

    def refuse(self, partition: int, refusal: Refusal) -> bool:
        """Close an assigned partition and store the refusal. Returns whether the refusal has changed."""
        self._open.pop(partition, None)
        return self.set_refusal(partition, refusal)

    def set_refusal(self, partition: int, refusal: Refusal) -> bool:
        """Store why an assigned partition is not consumed, without closing it. Returns whether it has changed."""
        if partition not in self._assigned:
            return False
        changed = self._refused.get(partition) != refusal
        self._refused[partition] = refusal
        return changed

    def clear_refusal(self, partition: int) -> None:
        """Remove the refusal of a partition: it is consumed."""
        self._refused.pop(partition, None)

    def close(self, partition: int) -> None:
        """Close a partition, for example if its offset was moved by another owner. It is wanted if still assigned."""
        self._open.pop(partition, None)

    def opened(self, partition: int, opening: int) -> OpenPartition | None:
        """Return the open partition if `opening` is its current opening. Else None: its records must be dropped."""
        state = self._open.get(partition)
        return state if state is not None and state.opening == opening else None

    def next_offset(self, partition: int) -> int | None:
        """Return the next offset to write, or None if the partition is not open."""
        state = self._open.get(partition)
        return None if state is None else state.next_offset

    def advance(self, partition: int, opening: int, next_offset: int) -> None:
        """Record that everything before `next_offset` is committed. Ignored if `opening` is not the current one."""
        state = self.opened(partition, opening)
        if state is not None:
            state.next_offset = max(state.next_offset, next_offset)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each open partition."""
        return {partition: state.next_offset for partition, state in self._open.items()}
