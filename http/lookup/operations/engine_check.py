"""How the engine is asked whether it is well: its workers, what they refuse, and who else consumes in its group."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.actors.status import State
from lookup.operations.checks import connection_of
from lookup.operations.health import Unwell
from lookup.operations.owners import OwnerReader, Owners
from lookup.operations.refusals import refusals_of
from lookup.operations.workers import DEAD, FORGOTTEN_AFTER_S, fetch_workers

if TYPE_CHECKING:
    from lookup.serving.store_reader import Pool

WORKING_STATES = frozenset({State.STARTING, State.RUNNING, State.IDLE, State.RETRYING})
"""States in which a worker consumes, or would if there were anything to consume."""


class EngineCheck:
    """At least one worker, on any machine, has lately said that it works, and every partition is theirs to consume.

    The workers of other pipelines, which may share the database, are not asked.
    """

    def __init__(self, pool: "Pool", deadline_s: float, topic: str, group: str, owners: OwnerReader) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._consumer = (group, topic)
        self._owners = owners

    async def __call__(self) -> Mapping[str, Any]:
        """Return the number of workers by state, and of living ones by host. Raises `Unwell`.

        `refused` tells of each partition that a worker refuses why, and what mends it; `foreign` are the partitions
        that a stranger in the group owns, None while that is not known.
        """
        async with connection_of(self._pool, self._deadline_s) as connection:
            rows = await fetch_workers(connection, *self._consumer)
        owners = await self._owners.read(rows)
        told = {"refused": refusals_of(rows), "foreign": _foreign(owners)}
        if not rows:
            raise Unwell(f"no worker runs: none has said so within {FORGOTTEN_AFTER_S} s", **told)
        workers = Counter(row["state"] for row in rows)
        alive = Counter(row["host"] for row in rows if row["state"] != DEAD)
        found = {"workers": workers, "hosts": alive, **told}
        if WORKING_STATES.isdisjoint(workers):
            states = ", ".join(f"{count} {state}" for state, count in workers.items())
            raise Unwell(f"no worker works: {states}", **found)
        if told["refused"]:
            raise Unwell("partitions are refused: see the fix of each", **found)
        if told["foreign"]:
            raise Unwell("a stranger in the consumer group owns partitions: see `orderflow doctor`", **found)
        return found


def _foreign(owners: Owners | None) -> list[int] | None:
    if owners is None or (owners.undecided and not owners.foreign):
        return None
    return owners.foreign
