"""Checks of what the engine's workers do, on all machines, and of what workers that are gone have left undone."""

from collections.abc import Mapping
from typing import Any

from asyncpg import Connection
from lookup.operations.refusals import refusals_of
from lookup.operations.workers import fetch_workers

from engine.dead_letters.groups import fetch_groups
from engine.stages.brake_pause import engaged_brakes
from orderflow.doctor.finding import Finding, failed, ok, warned
from orderflow.start.settings import Settings
from orderflow.terminal import printable


async def check_brake(connection: Connection, settings: Settings) -> Finding:
    """Find the workers that pause now."""
    rows = await engaged_brakes(connection, settings.kafka_group_id, settings.kafka_topic)
    if rows:
        who = f"{len(rows)} worker{' pauses' if len(rows) == 1 else 's pause'}"
        problem = f"{who}, because too many messages were rejected (`orderflow brake status`)"
        fix = "see `orderflow dlq list`, mend what publishes them, and run `orderflow brake release`"
        return failed("Brake", problem, fix)
    return ok("Brake", "no worker pauses")


async def check_dead_letters(connection: Connection, settings: Settings) -> Finding:
    """Find the groups whose letters wait for the dead-letter topic while nobody works for them."""
    gone = [state for state in await fetch_groups(connection, settings.kafka_topic) if state.unsent and not state.heard]
    if gone:
        told = ", ".join(f"{printable(state.name)} ({state.unsent})" for state in gone)
        problem = f"letters wait for the dead-letter topic, and no worker of their group was heard in a minute: {told}"
        fix = "start its engine, or run `orderflow dlq publish --group NAME`"
        return warned("Dead letters", problem, fix)
    return ok("Dead letters", "none waits for a group that is gone")


async def check_partitions_accepted(connection: Connection, settings: Settings) -> Finding:
    """Find the partitions that a living worker refuses."""
    rows = await fetch_workers(connection, settings.kafka_group_id, settings.kafka_topic)
    refused = refusals_of(rows)
    if refused:
        told = "; ".join(f"partition {partition} is refused{_why(refusal)}" for partition, refusal in refused.items())
        fixes = dict.fromkeys(_fix(refusal["fix"]) for refusal in refused.values())
        return failed("Partitions' offsets", told, "; ".join(fixes))
    return ok("Partitions' offsets", "no worker refuses one")


def _fix(fix: str | None) -> str:
    """Return what a worker says that mends it, a command as one to run."""
    if fix is None:
        return "see the engine's log"
    return f"run `{fix}`" if fix.startswith("orderflow ") else fix


def _why(refusal: Mapping[str, Any]) -> str:
    """Return where a partition is refused and why; its reason in the words of the worker, where it has any."""
    where = "" if refusal["offset"] is None else f" at offset {refusal['offset']}"
    return f"{where} ({refusal['detail'] or refusal['reason']})"
