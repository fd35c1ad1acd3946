"""The health check of the engine: its workers, the partitions they refuse, and foreign members of its group."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.actors.status import State
from engine.postgres.pauses import Pauses, fetch_pauses
from lookup.operations.checks import connection_of
from lookup.operations.health import Unhealthy
from lookup.operations.owners import OwnerReader, Owners
from lookup.operations.pauses import deaf_workers, render_pauses
from lookup.operations.refusals import refusals_of
from lookup.operations.waiting import waiting_batches
from lookup.operations.workers import DEAD, FORGOTTEN_AFTER_S, fetch_workers

if TYPE_CHECKING:
    from lookup.serving.store_reader import Pool

WORKING_STATES = frozenset({State.STARTING, State.RUNNING, State.IDLE, State.RETRYING, State.PAUSED})
"""States in which a worker consumes, or waits for messages to consume, or for an operator who has paused it."""


class EngineCheck:
    """At least one worker, on any machine, has reported that it works, and no partition is refused or foreign.

    Workers of other pipelines that share the database do not count.
    """

    def __init__(self, pool: "Pool", deadline_s: float, topic: str, group: str, owners: OwnerReader) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._consumer = (group, topic)
        self._owners = owners

    async def __call__(self) -> Mapping[str, Any]:
        """Return the number of workers by state, and of live workers by host. Raises `Unhealthy`.

        `refused` holds for each partition that a worker refuses the reason and the fix. `foreign` lists the partitions
        that a foreign member of the group owns; None while that is not known. `setup` lists the batches that wait until
        something in the database is changed. `paused` lists the partitions that an operator has paused, as far as they
        are known, and `pauses` who has paused what, and when.
        """
        async with connection_of(self._pool, self._deadline_s) as connection:
            rows = await fetch_workers(connection, *self._consumer)
            pauses = await fetch_pauses(connection, *self._consumer)
        owners = await self._owners.read(rows)
        waiting = waiting_batches(rows)
        partitions = {
            "refused": refusals_of(rows),
            "foreign": _foreign(owners),
            "setup": waiting,
            "paused": _paused(pauses, rows, owners),
            "pauses": render_pauses(pauses),
        }
        if not rows:
            raise Unhealthy(f"no worker runs: none has reported within {FORGOTTEN_AFTER_S} s", **partitions)
        counts = count_workers(rows)
        workers = counts["workers"]
        details = {**counts, **partitions}
        if waiting and State.OUTAGE in workers:
            changes = "; ".join(dict.fromkeys(batch["setup"] for batch in waiting))
            raise Unhealthy(f"the database must be changed: {changes}", **details)
        if WORKING_STATES.isdisjoint(workers):
            states = ", ".join(f"{count} {state}" for state, count in workers.items())
            raise Unhealthy(f"no worker works: {states}", **details)
        if partitions["refused"]:
            raise Unhealthy("partitions are refused: see the fix of each", **details)
        if partitions["foreign"]:
            raise Unhealthy("a foreign member of the consumer group owns partitions: see `orderflow doctor`", **details)
        if pauses and (deaf := deaf_workers(rows)):
            raise Unhealthy(f"workers of an older build do not pause: {', '.join(deaf)}", **details)
        return details


def _paused(pauses: Pauses, rows: Iterable[Any], owners: Owners | None) -> list[int]:
    assigned = {partition for row in rows if row["state"] != DEAD for partition in row["partitions"]}
    return list(pauses.among(assigned.union(() if owners is None else owners.by_partition)))


def count_workers(rows: Sequence[Any]) -> dict[str, Counter[str]]:
    """Return the number of workers by state, and of live workers by host. `rows` are those of `fetch_workers`."""
    return {
        "workers": Counter(row["state"] for row in rows),
        "hosts": Counter(row["host"] for row in rows if row["state"] != DEAD),
    }


def _foreign(owners: Owners | None) -> list[int] | None:
    if owners is None or (owners.undecided and not owners.foreign):
        return None
    return owners.foreign
