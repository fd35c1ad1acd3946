"""Pauses consumption, and waits until the workers have written what was in flight."""

import asyncio
import getpass
import time
from collections.abc import Callable, Sequence
from typing import Any

from asyncpg import Connection
from lookup.operations.pauses import unfinished_workers
from lookup.operations.workers import DEAD, fetch_workers

from engine.actors.identity import host_name
from engine.actors.status import State
from engine.postgres.pauses import EVERY, EverythingPaused, Pause, Pauses, WorkersTooOld, pause, resume
from orderflow.exits import Failed
from orderflow.operating.offset_reset import connected
from orderflow.start.settings import Settings

LOOK_S = 0.3
_HINTS = {
    State.BRAKED: "braked: `orderflow brake release`",
    State.OUTAGE: "waits for a service",
    State.RETRYING: "waits for a service",
    DEAD: "not heard now",
}
HEARD_S = 5.0
"""After that time every supervisor is heard, even if PostgreSQL did not answer its last report.

It tries once a second, for up to three seconds.
"""


def user_at_host() -> str:
    """Return who runs this command: "USER@HOST". A container may have no name for its user, only a number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{host_name()}"


async def check_partition(settings: Settings, partition: int) -> None:
    """Raise `Failed` if the topic has no such partition, or Kafka does not answer."""
    async with connected(settings) as brokers:
        partitions = brokers.partitions()
    if partition not in partitions:
        raise Failed(f"the topic {settings.kafka_topic!r} has no partition {partition}: it has {partitions}")


async def place_pause(
    connection: Connection, settings: Settings, partition: int, paused_by: str
) -> tuple[Pauses, bool]:
    """Pause a partition, or everything with `EVERY`. Returns all pauses, and whether this one is new.

    Raises `Failed` while workers of an older build run: they would go on consuming.
    """
    try:
        return await pause(connection, settings.kafka_group_id, settings.kafka_topic, partition, paused_by)
    except WorkersTooOld as error:
        raise Failed(
            f"{error}: nothing was paused. Replace their engines first (docs/upgrading.md); an engine that was killed "
            "counts for a minute"
        ) from None


async def wait_until_drained(
    connection: Connection,
    settings: Settings,
    placed: Pause,
    timeout_s: float,
    waiting: Callable[[Sequence[str]], None],
) -> int:
    """Wait until no worker fetches, or may still write, what is paused. Returns the number of workers that run.

    Calls `waiting` with the workers that are not done, when they change. Raises `Failed` after `timeout_s` seconds:
    the pause stays.
    """
    began_s, told = time.monotonic(), None
    while True:
        rows = await fetch_workers(connection, settings.kafka_group_id, settings.kafka_topic)
        unfinished = _with_hints(unfinished_workers(rows, placed), rows)
        waited_s = time.monotonic() - began_s
        if not unfinished and waited_s > HEARD_S:
            return sum(row["state"] != DEAD for row in rows)
        if unfinished and waited_s > timeout_s:
            raise Failed(
                f"the pause stays, but after {timeout_s:g} s {', '.join(unfinished)} did not say that everything in "
                "flight is written: see `orderflow doctor`, or run `orderflow pause` again to wait on"
            )
        if unfinished and unfinished != told:
            waiting(unfinished)
            told = unfinished
        await asyncio.sleep(LOOK_S)


def _with_hints(names: Sequence[str], rows: Sequence[Any]) -> list[str]:
    """Return the names of workers, each with what keeps it from writing, if that is known."""
    states = {f"{row['host']}/{row['worker']}": row["state"] for row in rows}
    return [f"{name} ({hint})" if (hint := _HINTS.get(states[name])) else name for name in names]


async def end_pauses(connection: Connection, settings: Settings, partition: int) -> tuple[Pauses, Pauses]:
    """End the pause of a partition, or with `EVERY` all pauses. Returns the ended pauses, and those that are left.

    Raises `Failed` for one partition while everything is paused.
    """
    try:
        return await resume(connection, settings.kafka_group_id, settings.kafka_topic, partition)
    except EverythingPaused as error:
        raise Failed(
            f"{error}, not only partition {partition}: `orderflow resume` without --partition ends that, and the "
            "pauses of single partitions"
        ) from None


def describe_pause(pause: Pause) -> str:
    """Return what is paused, since when and by whom."""
    what = "everything" if pause.partition == EVERY else f"partition {pause.partition}"
    return f"{what}, since {pause.paused_at:%F %T} UTC by {pause.paused_by}"
