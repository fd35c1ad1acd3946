"""Pauses: partitions that an operator has paused, in PostgreSQL. They last until they are resumed.

A paused partition is not fetched. What was fetched before is still written.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import attrs
from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

from engine.postgres.bookkeeping import local_transaction
from engine.records import HIGHEST_PARTITION

EVERY = -1
"""The partition of a pause of everything."""
_FETCH = "SELECT partition, paused_at, paused_by FROM pauses WHERE consumer_group = $1 AND topic = $2"
# Workers of a build that knows pauses report which they apply, from the first report of their supervisor on. A
# supervisor deletes its rows when it stops. One that was killed counts for a minute, as it does for migrations.
_DEAF = """
SELECT DISTINCT host || '/' || worker AS name FROM workers
WHERE ((consumer_group = $1 AND topic = $2) OR consumer_group = '') AND NOT details ? 'pauses'
  AND heartbeat_at > clock_timestamp() - interval '1 minute'
ORDER BY name
"""
_PAUSE = """
INSERT INTO pauses (consumer_group, topic, partition, paused_by) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_RESUME = """
DELETE FROM pauses WHERE consumer_group = $1 AND topic = $2 AND ($3 IN (-1, partition))
RETURNING partition, paused_at, paused_by
"""


@attrs.frozen
class Pause:
    """A pause of one partition, or of `EVERY` one: since when, and by whom."""

    partition: int
    paused_at: datetime
    paused_by: str

    @property
    def stamp(self) -> str:
        """What tells this pause from an earlier one of the same partition."""
        return self.paused_at.isoformat()


@attrs.frozen
class Pauses:
    """The pauses of one consumer group and topic, sorted by partition. A pause of everything is the first."""

    placed: tuple[Pause, ...] = ()

    @classmethod
    def of_rows(cls, rows: Iterable[Any]) -> "Pauses":
        """Return the pauses in rows with `partition`, `paused_at` and `paused_by`."""
        return cls(tuple(sorted((Pause(**row) for row in rows), key=lambda pause: pause.partition)))

    def __iter__(self) -> Iterator[Pause]:
        return iter(self.placed)

    def __len__(self) -> int:
        return len(self.placed)

    @property
    def everything(self) -> Pause | None:
        """The pause of everything, or None."""
        return self.placed[0] if self.placed and self.placed[0].partition == EVERY else None

    def of(self, partition: int) -> Pause | None:
        """Return the pause that holds a partition: that of everything, else its own. None if it is not paused."""
        return self.everything or next((pause for pause in self.placed if pause.partition == partition), None)

    def among(self, partitions: Collection[int]) -> dict[int, Pause]:
        """Return the paused partitions among these, sorted. A partition with a pause of its own is always included."""
        own = {pause.partition for pause in self.placed} - {EVERY}
        held = {partition: self.of(partition) for partition in sorted({*partitions, *own})}
        return {partition: pause for partition, pause in held.items() if pause is not None}


class EverythingPaused(Exception):
    """One partition cannot be resumed while everything is paused: `pause` is that pause."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(f"everything is paused, by {pause.paused_by}")
        self.pause = pause


class WorkersTooOld(Exception):
    """Workers of a build that does not know pauses are running: `workers` are their names, "HOST/WORKER"."""

    def __init__(self, workers: list[str]) -> None:
        super().__init__(f"workers of an older build run, which cannot be paused: {', '.join(workers)}")
        self.workers = workers


async def fetch_pauses(connection: "Connection | PoolConnectionProxy", group: str, topic: str) -> Pauses:
    """Return what is paused now. Raises what asyncpg raises."""
    return Pauses.of_rows(await connection.fetch(_FETCH, group, topic))


async def fetch_deaf_workers(connection: "Connection | PoolConnectionProxy", group: str, topic: str) -> list[str]:
    """Return the workers of a build that does not know pauses, heard in the last minute, as "HOST/WORKER"."""
    return [row["name"] for row in await connection.fetch(_DEAF, group, topic)]


async def pause(
    connection: "Connection | PoolConnectionProxy", group: str, topic: str, partition: int, paused_by: str
) -> tuple[Pauses, bool]:
    """Pause a partition, or `EVERY` one, until it is resumed. Returns all pauses, and whether this one is new.

    A pause that exists keeps its time and name. Raises `WorkersTooOld`: then nothing is paused. `partition` must be at
    most `HIGHEST_PARTITION`.
    """
    assert EVERY <= partition <= HIGHEST_PARTITION
    async with local_transaction(connection):
        deaf = await fetch_deaf_workers(connection, group, topic)
        if deaf:
            raise WorkersTooOld(deaf)
        placed = await connection.execute(_PAUSE, group, topic, partition, paused_by)
        return await fetch_pauses(connection, group, topic), placed == "INSERT 0 1"


async def resume(
    connection: "Connection | PoolConnectionProxy", group: str, topic: str, partition: int
) -> tuple[Pauses, Pauses]:
    """End the pause of a partition; with `EVERY` end all pauses. Returns the ended pauses, and those that are left.

    The workers continue within about a second. Raises `EverythingPaused` for one partition while everything is paused.
    """
    async with local_transaction(connection):
        everything = (await fetch_pauses(connection, group, topic)).everything
        if everything is not None and partition != EVERY:
            raise EverythingPaused(everything)
        ended = Pauses.of_rows(await connection.fetch(_RESUME, group, topic, partition))
        return ended, await fetch_pauses(connection, group, topic)
