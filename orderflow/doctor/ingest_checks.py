"""Checks of the engine's workers on all machines, and of letters that inactive groups have left unsent."""

from collections.abc import Mapping
from typing import Any

from asyncpg import Connection
from lookup.operations.pauses import deaf_workers
from lookup.operations.refusals import refusals_of
from lookup.operations.workers import fetch_workers

from engine.dead_letters.groups import fetch_groups
from engine.postgres.pauses import fetch_pauses
from engine.stages.brake_pause import engaged_brakes
from orderflow.doctor.finding import Finding, failed, ok, warned
from orderflow.operating.pause import describe_pause
from orderflow.start.settings import Settings
from orderflow.terminal import printable


async def check_brake(connection: Connection, settings: Settings) -> Finding:
    """Find the workers that are paused now."""
    rows = await engaged_brakes(connection, settings.kafka_group_id, settings.kafka_topic)
    if rows:
        workers = f"{len(rows)} worker{' pauses' if len(rows) == 1 else 's pause'}"
        problem = f"{workers}, because too many messages were rejected (`orderflow brake status`)"
        fix = "see `orderflow dlq list`, fix what they were rejected for, and run `orderflow brake release`"
        return failed("Brake", problem, fix)
    return ok("Brake", "no worker pauses")


async def check_pauses(connection: Connection, settings: Settings) -> Finding:
    """Find what an operator has paused: that is intended, and easily forgotten."""
    pauses = await fetch_pauses(connection, settings.kafka_group_id, settings.kafka_topic)
    deaf = deaf_workers(await fetch_workers(connection, settings.kafka_group_id, settings.kafka_topic))
    if pauses and deaf:
        problem = f"workers of an older build go on in spite of a pause: {', '.join(deaf)}"
        return failed("Pauses", problem, "stop their engines, or replace them with this build")
    if pauses:
        problem = f"paused: {'; '.join(printable(describe_pause(pause)) for pause in pauses)}"
        return warned("Pauses", problem, "run `orderflow resume` when what it was for is done")
    return ok("Pauses", "nothing is paused")


async def check_dead_letters(connection: Connection, settings: Settings) -> Finding:
    """Find the groups whose letters wait for the dead-letter topic while none of their workers runs."""
    groups = await fetch_groups(connection, settings.kafka_topic)
    inactive = [state for state in groups if state.unsent and not state.heard]
    if inactive:
        names = ", ".join(f"{printable(state.name)} ({state.unsent})" for state in inactive)
        problem = f"letters wait for the dead-letter topic, but no worker of their group reported for a minute: {names}"
        fix = "start its engine, or run `orderflow dlq publish --group NAME`"
        return warned("Dead letters", problem, fix)
    return ok("Dead letters", "no letter waits for an inactive group")


async def check_partitions_accepted(connection: Connection, settings: Settings) -> Finding:
    """Find the partitions that a live worker refuses."""
    rows = await fetch_workers(connection, settings.kafka_group_id, settings.kafka_topic)
    refused = refusals_of(rows)
    if refused:
        problem = "; ".join(
            f"partition {partition} is refused{_why(refusal)}" for partition, refusal in refused.items()
        )
        fixes = dict.fromkeys(_fix(refusal["fix"]) for refusal in refused.values())
        return failed("Partitions' offsets", problem, "; ".join(fixes))
    return ok("Partitions' offsets", "no worker refuses a partition")


def _fix(fix: str | None) -> str:
    """Return the fix that a worker reports; if it is a command, as an instruction to run it."""
    if fix is None:
        return "see the engine's log"
    return f"run `{fix}`" if fix.startswith("orderflow ") else fix


def _why(refusal: Mapping[str, Any]) -> str:
    """Return the offset where a partition is refused, and the worker's explanation or else the reason's name."""
    where = "" if refusal["offset"] is None else f" at offset {refusal['offset']}"
    return f"{where} ({refusal['detail'] or refusal['reason']})"
