"""How far the workers follow the pauses of an operator. `workers` are rows of `fetch_workers`.

A worker that its supervisor has reported dead writes nothing any more. One of which nothing is heard may still write:
it counts until it is forgotten.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import json

from engine.postgres.pauses import EVERY, Pause, Pauses
from lookup.operations.workers import DEAD


def deaf_workers(workers: Iterable[Any]) -> list[str]:
    """Return the live workers of a build that does not know pauses, as "HOST/WORKER"."""
    return [_name(row) for row, details in _not_ended(workers) if row["state"] != DEAD and "pauses" not in details]


def unfinished_workers(workers: Iterable[Any], pause: Pause) -> list[str]:
    """Return the workers that do not follow a pause yet, or may still write messages of it, as "HOST/WORKER"."""
    return [
        _name(row)
        for row, details in _not_ended(workers)
        if not _follows(details, pause)
        or (details["undrained"] if pause.partition == EVERY else pause.partition in details["undrained"])
    ]


def undrained_partitions(workers: Iterable[Any], pauses: Pauses) -> set[int]:
    """Return the paused partitions of which a worker may still write messages."""
    undrained: set[int] = set()
    for row, details in _not_ended(workers):
        undrained.update(details.get("undrained", ()))
        for partition in row["partitions"]:
            pause = pauses.of(partition)
            if pause is not None and not _follows(details, pause):
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


def _follows(details: Mapping[str, Any], pause: Pause) -> bool:
    followed: Mapping[str, str] = details.get("pauses") or {}
    return followed.get(str(pause.partition)) == pause.stamp


def _not_ended(workers: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for row in workers:
        if not (row["state"] == DEAD and row["heartbeat_age_s"] is None):
            yield row, json.decode(row["details"])


def _name(row: Any) -> str:
    return f"{row['host']}/{row['worker']}"
