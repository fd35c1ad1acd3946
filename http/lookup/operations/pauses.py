"""How far the workers follow the pauses of an operator. `workers` are rows of `fetch_workers`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import json

from engine.postgres.pauses import EVERY, Pause, Pauses
from lookup.operations.workers import DEAD


def deaf_workers(workers: Iterable[Any]) -> list[str]:
    """Return the live workers of a build that does not know pauses, as "HOST/WORKER"."""
    return [_name(row) for row, details in _alive(workers) if "pauses" not in details]


def unfinished_workers(workers: Iterable[Any], partition: int) -> list[str]:
    """Return the live workers that do not follow a pause yet, or still write messages of it, as "HOST/WORKER".

    `partition` is that of the pause, -1 for everything.
    """
    return [
        _name(row)
        for row, details in _alive(workers)
        if partition not in (details.get("pauses") or ())
        or any(partition in (EVERY, undrained) for undrained in details["undrained"])
    ]


def undrained_partitions(workers: Iterable[Any], pauses: Pauses) -> set[int]:
    """Return the paused partitions of which a live worker may still write messages."""
    undrained: set[int] = set()
    for row, details in _alive(workers):
        followed = details.get("pauses") or ()
        undrained.update(details.get("undrained", ()))
        for partition in row["partitions"]:
            pause = pauses.of(partition)
            if pause is not None and pause.partition not in followed:
                undrained.add(partition)
    return undrained


def render_pause(pause: Pause | None) -> dict[str, Any]:
    """Return since when something is paused, and by whom, as in JSON. Both are None without a pause."""
    return {
        "paused_at": None if pause is None else pause.paused_at,
        "paused_by": None if pause is None else pause.paused_by,
    }


def render_pauses(pauses: Pauses) -> list[dict[str, Any]]:
    """Return the pauses as in JSON. `partition` is None in a pause of everything."""
    return [
        {"partition": None if pause.partition == EVERY else pause.partition, **render_pause(pause)} for pause in pauses
    ]


def _alive(workers: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for row in workers:
        if row["state"] != DEAD:
            yield row, json.decode(row["details"])


def _name(row: Any) -> str:
    return f"{row['host']}/{row['worker']}"
