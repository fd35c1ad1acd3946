"""Which partitions this worker may write, and from which offset. Pure state, no I/O.

A partition is `wanted` from its assignment until it has been opened: its offset was read from PostgreSQL and the
consumer was sent there. Only then are its records accepted, and only those of the present opening: whatever was fetched
before is dropped, because it may begin anywhere.
"""

import attrs

CORRUPT_BATCH = "corrupt_batch"
OUT_OF_RANGE = "out_of_range"
TOPIC_RECREATED = "topic_recreated"
NO_LEADER = "no_leader"


@attrs.frozen
class Refusal:
    """Why a partition is not consumed: `reason` for programs, `detail` for people, the offset that it is about, if any.

    `fix` is what mends it.
    """

    reason: str
    offset: int | None
    detail: str
    fix: str


@attrs.define
class OpenPartition:
    """An open partition: which opening this is, the next offset to write, and the topic's generation."""

    opening: int
    next_offset: int
    epoch: int


class PartitionTable:
    """The partitions assigned to this worker: each is wanted or open. One that is in trouble has a refusal as well."""

    def __init__(self) -> None:
        self._assigned: set[int] = set()
        self._open: dict[int, OpenPartition] = {}
        self._refused: dict[int, Refusal] = {}
        self._openings = 0

    @property
    def assigned(self) -> list[int]:
        """The partitions that the group gave to this worker, sorted."""
        return sorted(self._assigned)

    @property
    def wanted(self) -> list[int]:
        """The partitions that wait to be opened, sorted; refused ones are among them, to be tried again."""
        return sorted(self._assigned - self._open.keys())

    @property
    def refused(self) -> dict[int, Refusal]:
        """The partitions that are not consumed, with the reason."""
        return dict(self._refused)

    def assign(self, partitions: set[int]) -> None:
        """Take partitions over from the group. They stay closed until they are opened."""
        for partition in partitions:
            self._open.pop(partition, None)
            self._refused.pop(partition, None)
        self._assigned |= partitions

    def revoke(self, partitions: set[int]) -> None:
        """Give partitions back to the group: from now on none of their records are accepted."""
        self._assigned -= partitions
        for partition in partitions:
            self._open.pop(partition, None)
            self._refused.pop(partition, None)

    def open(self, partition: int, next_offset: int, epoch: int, *, on_trial: bool = False) -> OpenPartition | None:
        """Open an assigned partition at `next_offset`. Returns None if it was revoked meanwhile.

        One that is opened on trial stays refused until it is `well`.
        """
        if partition not in self._assigned:
            return None
        self._openings += 1
        if not on_trial:
            self._refused.pop(partition, None)
        self._open[partition] = OpenPartition(self._openings, next_offset, epoch)
        return self._open[partition]

    def refuse(self, partition: int, refusal: Refusal) -> bool:
        """Stop an assigned partition. Returns whether the reason is news."""
        self._open.pop(partition, None)
        return self.trouble(partition, refusal)

    def trouble(self, partition: int, refusal: Refusal) -> bool:
        """Note why an assigned partition is not consumed just now, without closing it. Returns whether that is news."""
        if partition not in self._assigned:
            return False
        news = self._refused.get(partition) != refusal
        self._refused[partition] = refusal
        return news

    def well(self, partition: int) -> None:
        """Note that a partition is consumed, whatever was wrong before."""
        self._refused.pop(partition, None)

    def close(self, partition: int) -> None:
        """Close a partition whose offset somebody else moved; it is wanted again if it is still assigned."""
        self._open.pop(partition, None)

    def opened(self, partition: int, opening: int) -> OpenPartition | None:
        """Return the open partition if `opening` is its present one, else None: then its records must be dropped."""
        found = self._open.get(partition)
        return found if found is not None and found.opening == opening else None

    def present(self, partition: int) -> OpenPartition | None:
        """Return the open partition, or None when it is not open."""
        return self._open.get(partition)

    def next_offset(self, partition: int) -> int | None:
        """Return the next offset to write, or None when the partition is not open."""
        found = self._open.get(partition)
        return None if found is None else found.next_offset

    def advance(self, partition: int, opening: int, next_offset: int) -> None:
        """Note that everything before `next_offset` is committed. Ignored for another opening."""
        found = self.opened(partition, opening)
        if found is not None:
            found.next_offset = max(found.next_offset, next_offset)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each open partition."""
        return {partition: found.next_offset for partition, found in self._open.items()}
