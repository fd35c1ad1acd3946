"""Who owns each partition: a worker of this database, nobody, or a foreign member of the consumer group.

Kafka knows which member has a partition, and a worker's row holds its member id. The row of a worker that has just
joined may not have it yet: an unknown member counts as foreign only after `GRACE_S`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
from aiokafka.errors import KafkaError
from msgspec import json

from engine.kafka.group_members import GroupMembers, Member
from lookup.operations.workers import DEAD

FOREIGN = "foreign"
GRACE_S = 2.5
"""A worker reports its member id at once, and its supervisor writes it once a second."""
FRESH_S = 0.5
_REMEMBERED = 1000


@attrs.frozen
class Owners:
    """The owner of each assigned partition: "HOST/WORKER", `FOREIGN`, or None.

    None is a dead worker, or a worker of an older build that does not report its member id. `foreign_members` own the
    foreign partitions. `undecided` is true while an unknown member may still turn out to be a worker.
    """

    by_partition: Mapping[int, str | None]
    foreign_members: Sequence[Member] = ()
    undecided: bool = False

    @property
    def foreign(self) -> list[int]:
        """The partitions that foreign members own, sorted."""
        return sorted(partition for partition, owner in self.by_partition.items() if owner == FOREIGN)


class OwnerReader:
    """Asks Kafka for the group's members, at most every `FRESH_S` seconds. `matcher` remembers members seen before."""

    def __init__(self, group: GroupMembers, matcher: "OwnerMatcher") -> None:
        self._group = group
        self._matcher = matcher
        self._members: list[Member] | None = None
        self._asked_s = float("-inf")
        self._lock = asyncio.Lock()

    async def read(self, workers: Sequence[Any]) -> Owners | None:
        """Return the owners; `workers` are rows of `fetch_workers`. None when Kafka does not answer. Never raises."""
        async with self._lock:
            if time.monotonic() - self._asked_s > FRESH_S:
                try:
                    self._members = await self._group.fetch()
                except (KafkaError, OSError):
                    self._members = None
                self._asked_s = time.monotonic()
        return None if self._members is None else self._matcher.match(self._members, workers, time.monotonic())

    async def close(self) -> None:
        """Close the connection to Kafka. Closing twice is fine."""
        await self._group.close()


async def read_once(group: GroupMembers, fetch_workers: Callable[[], Awaitable[Sequence[Any]]]) -> Owners:
    """Return the owners without earlier observations. If a member is unknown, it waits `GRACE_S` and asks again.

    Raises `KafkaError`, `OSError`, and what `fetch_workers` raises.
    """
    matcher = OwnerMatcher()
    owners = matcher.match(await group.fetch(), await fetch_workers(), time.monotonic())
    if not owners.undecided:
        return owners
    await asyncio.sleep(GRACE_S)
    return matcher.match(await group.fetch(), await fetch_workers(), time.monotonic())


class OwnerMatcher:
    """Matches members of the group with workers. Pure: time is an argument, in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._ours: dict[str, None] = {}
        self._unknown_since: dict[tuple[str, int], float] = {}

    def match(self, members: Sequence[Member], workers: Sequence[Any], now_s: float) -> Owners:
        """Return the owners now. `workers` are rows of `fetch_workers`."""
        names, unnamed = _names(workers)
        self._remember(names)
        owned = [(partition, member) for member in members for partition in member.partitions]
        unknown = [
            (member, partition)
            for partition, member in owned
            if member.member_id not in self._ours and partition not in unnamed
        ]
        self._unknown_since = {
            (member.member_id, partition): self._unknown_since.get((member.member_id, partition), now_s)
            for member, partition in unknown
        }
        since = {partition: now_s - self._unknown_since[member.member_id, partition] for member, partition in unknown}
        foreign = {partition for partition, age_s in since.items() if age_s >= GRACE_S}
        return Owners(
            {
                partition: FOREIGN if partition in foreign else names.get(member.member_id)
                for partition, member in owned
            },
            [member for member in members if member.partitions & foreign],
            undecided=len(foreign) < len(since),
        )

    def _remember(self, names: Mapping[str, str | None]) -> None:
        """Remember the member ids of workers: a dead worker stays in the group until its Kafka session expires."""
        self._ours = {**self._ours, **dict.fromkeys(names)}
        while len(self._ours) > _REMEMBERED:
            del self._ours[next(iter(self._ours))]


def _names(workers: Sequence[Any]) -> tuple[dict[str, str | None], set[int]]:
    """Return the workers' names by member id (None for a dead one), and the partitions of workers without an id."""
    names: dict[str, str | None] = {}
    unnamed: set[int] = set()
    for row in workers:
        dead = row["state"] == DEAD
        member_id = json.decode(row["details"]).get("member_id")
        if member_id:
            names[member_id] = None if dead else f"{row['host']}/{row['worker']}"
        elif not dead:
            unnamed |= set(row["partitions"])
    return names, unnamed
