"""`orderflow dlq replay`: sends dead letters again, and reports on standard output."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import attrs
import click
from aiokafka.errors import KafkaError
from asyncpg import Connection

from engine.dead_letters.list import Selection, missing_places
from engine.dead_letters.replay import AT_THE_LIMIT, NO_PARTITION, ON_ITS_WAY, Outgoing, ReplayPlan, ReplayRun
from engine.dead_letters.store import REPLAY_LIMIT, Owner
from orderflow.exits import Failed
from orderflow.operating.letters_of_groups import settled_by
from orderflow.progress import progress_bar, say
from orderflow.publishing.messages import Message
from orderflow.publishing.publisher import Publisher, reason_of
from orderflow.start.brokers import list_partitions, wait_for_topic
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from orderflow.terminal import json_line, printable

T = TypeVar("T")

_WHY_SKIPPED = {
    AT_THE_LIMIT: f"replayed {REPLAY_LIMIT} times already",
    ON_ITS_WAY: "on the way to the engine",
    NO_PARTITION: "the topic no longer has the partition",
}


async def replay_letters(
    connection: Connection,
    settings: Settings,
    owner: Owner,
    selection: Selection,
    *,
    maximum: int | None,
    forced: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Replay the owner's letters of `selection`, or with `dry_run` only count them, and report on standard output.

    Letters of an inactive group are settled by this engine's group. With `as_json` the report is one object, also after
    a failure.

    Raises `Failed` when a selected place has no unresolved letter, or when not all letters were acknowledged.
    """
    await wait_for_topic(settings, settings.kafka_topic)
    try:
        partitions = await list_partitions(settings, settings.kafka_topic)
    except (KafkaError, OSError) as error:
        raise Failed(f"Kafka did not list the topic's partitions: {reason_of(error)}") from None
    substitute = await settled_by(connection, settings, owner)
    replay = ReplayRun(owner, selection, maximum, forced, partitions, substitute)
    plan = await replay.plan(connection)
    if plan.matching < len(selection.places):
        missing = await missing_places(connection, owner, selection)
        places = " ".join(f"{partition}:{offset}" for partition, offset in missing)
        raise Failed(f"there is no unresolved letter at {places}: see `orderflow dlq list`")
    if substitute is not None:
        inactive = f"No worker of group {printable(owner.group)!r} reported in the last minute"
        say(f"{inactive}: workers of {substitute!r} settle its letters")
    if not as_json:
        _print_plan(plan, dry_run=dry_run)
    done: Counter[str] = Counter()
    try:
        if plan.total and not dry_run:
            await _run(replay, connection, settings, plan, done)
    finally:
        if as_json:
            plan_fields = {"chosen": plan.chosen, "skipped": plan.skipped, "beyond_maximum": plan.beyond_maximum}
            click.echo(json_line({"dry_run": dry_run, **plan_fields, "replayed": done}))
        elif not dry_run and (done or not plan.total):
            click.echo(f"Replayed {describe_counts(done)}")


def _print_plan(plan: ReplayPlan, *, dry_run: bool) -> None:
    if dry_run:
        click.echo(f"Would replay {describe_counts(plan.chosen)}")
    for why, count in plan.skipped.items():
        click.echo(f"Skipped {_letters(count)}: {_WHY_SKIPPED[why]}")
    if plan.beyond_maximum:
        click.echo(f"Left out {_letters(plan.beyond_maximum)}: more than --max")


async def _run(
    replay: ReplayRun, connection: Connection, settings: Settings, plan: ReplayPlan, done: Counter[str]
) -> None:
    """Send the planned letters, and count them in `done`. Raises `Failed` unless all were acknowledged."""
    publisher = Publisher(kafka_options(settings), settings.kafka_topic)
    try:
        async with publisher:
            with progress_bar("Replaying", plan.total) as progress:
                await replay.run(_Store(connection), _Sender(publisher), plan.total, done, progress)
    except (KafkaError, TimeoutError) as error:
        raise Failed(f"nothing was sent to Kafka: {reason_of(error)}") from None
    if publisher.refusals:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in publisher.refusals.most_common())
        raise Failed(f"{plan.total - done.total()} of {plan.total} letters were not acknowledged: {reasons}")


@attrs.frozen
class _Store:
    connection: Connection

    async def read(self, query: Callable[[Connection], Awaitable[T]]) -> T:
        return await query(self.connection)


@attrs.frozen
class _Sender:
    publisher: Publisher

    @property
    def ended(self) -> bool:
        return self.publisher.lost

    async def send(self, outgoing: list[Outgoing]) -> list[bool]:
        messages = [Message(item.key, item.value, None, item.headers, item.partition) for item in outgoing]
        acknowledged = {id(message) for message in await self.publisher.publish(messages)}
        return [id(message) in acknowledged for message in messages]


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return the total number of letters, and the number by reason."""
    total = sum(counts.values())
    by_reason = ", ".join(f"{printable(reason)} {count}" for reason, count in counts.items())
    return f"{_letters(total)}: {by_reason}" if total else _letters(total)


def _letters(count: int) -> str:
    return f"{count} letter{'' if count == 1 else 's'}"
