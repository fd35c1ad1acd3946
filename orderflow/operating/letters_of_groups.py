"""Whose dead letters a command is about: those of this engine's consumer group, or of another that is named."""

import click
from asyncpg import Connection

from engine.dead_letters.groups import fetch_groups, has_letters, was_heard
from engine.dead_letters.store import Owner
from orderflow.start.settings import Settings
from orderflow.terminal import printable


def owner_of(settings: Settings, group: str | None) -> Owner:
    """Return whose letters are meant; `group` is None for this engine's."""
    return Owner(settings.kafka_group_id if group is None else group, settings.kafka_topic)


async def check_group(connection: Connection, settings: Settings, owner: Owner) -> None:
    """Refuse a group that is mistyped: not this engine's, and without any letter."""
    if owner.group == settings.kafka_group_id or await has_letters(connection, owner.group, owner.topic):
        return
    groups = [state.name for state in await fetch_groups(connection, owner.topic)]
    known = ", ".join(printable(name) for name in sorted({*groups, settings.kafka_group_id}))
    raise click.BadParameter(f"{printable(owner.group)!r} has no letters; it may be {known}", param_hint="'--group'")


async def settled_by(connection: Connection, settings: Settings, owner: Owner) -> str | None:
    """Return the group whose workers settle replays of these letters in the stead of their own, which is gone."""
    if owner.group == settings.kafka_group_id or await was_heard(connection, owner.group, owner.topic):
        return None
    return settings.kafka_group_id


async def groups_that_are_gone(connection: Connection, settings: Settings) -> list[str]:
    """Return a line about each other group that has unsettled letters and of which no worker was heard."""
    return [
        f"Group {printable(state.name)!r}, of which no worker was heard in the last minute, has {state.unresolved} "
        f"unresolved, {state.unsent} unsent: `orderflow dlq list --group {printable(state.name)}`"
        for state in await fetch_groups(connection, settings.kafka_topic)
        if state.name != settings.kafka_group_id and not state.heard and (state.unsent or state.unresolved)
    ]
