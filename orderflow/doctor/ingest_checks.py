"""Checks of what the engine's workers do, on all machines, and of what workers that are gone have left undone."""

from asyncpg import Connection
from lookup.workers import DEAD, fetch_workers
from msgspec import json

from engine.brake_pause import engaged_brakes
from engine.dead_letter_groups import fetch_groups
from orderflow.doctor.finding import Finding, failed, ok, warned
from orderflow.settings import Settings
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
    details = [json.decode(row["details"]) for row in rows if row["state"] != DEAD]
    refused = {int(partition): why for told in details for partition, why in told.get("refused", {}).items()}
    if refused:
        problem = "; ".join(f"partition {partition} is refused ({why})" for partition, why in sorted(refused.items()))
        return failed("Partitions' offsets", problem, "see `orderflow offsets show`, and run `orderflow offsets reset`")
    return ok("Partitions' offsets", "no worker refuses one")
