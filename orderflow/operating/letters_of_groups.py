"""The consumer group whose dead letters a command handles: this engine's group, or another one."""

import click
from asyncpg import Connection

from engine.dead_letters.groups import fetch_groups, has_letters, was_heard
from engine.dead_letters.store import Owner
from orderflow.start.settings import Settings
from orderflow.terminal import printable


def owner_of(settings: Settings, group: str | None) -> Owner:
    """Return the owner of the letters; `group` is None for this engine's group."""
    return Owner(settings.kafka_group_id if group is None else group, settings.kafka_topic)


async def check_group(connection: Connection, settings: Settings, owner: Owner) -> None:
    """Raise for an unknown group: it is not this engine's, and has no letters."""
    if owner.group == settings.kafka_group_id or await has_letters(connection, owner.group, owner.topic):
        return
    groups = [state.name for state in await fetch_groups(connection, owner.topic)]
    known = ", ".join(printable(name) for name in sorted({*groups, settings.kafka_group_id}))
    raise click.BadParameter(
        f"{printable(owner.group)!r} has no letters; known groups: {known}", param_hint="'--group'"
    )


async def settled_by(connection: Connection, settings: Settings, owner: Owner) -> str | None:
    """Return this engine's group if its workers settle replays of the letters of an inactive group, else None."""
    if owner.group == settings.kafka_group_id or await was_heard(connection, owner.group, owner.topic):
        return None
    return settings.kafka_group_id


async def inactive_groups(connection: Connection, settings: Settings) -> list[str]:
    """Return one line about each other group that has unsent or unresolved letters but no running worker."""
    return [
        f"Group {printable(state.name)!r} has {state.unresolved} unresolved and {state.unsent} unsent letters, but no "
        f"worker reported in the last minute: `orderflow dlq list --group {printable(state.name)}`"
        for state in await fetch_groups(connection, settings.kafka_topic)
        if state.name != settings.kafka_group_id and not state.heard and (state.unsent or state.unresolved)
    ]
