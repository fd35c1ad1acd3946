"""`orderflow trace`: shows all processing steps of one order."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from asyncpg import Connection

from engine.postgres.pauses import Pauses, fetch_pauses
from handlers.model import MAX_KEY_BYTES
from handlers.story import MAX_LETTERS, MESSAGE, REPEAT, REPLAY, Letter, Source, Story, WrittenBy, fetch_story
from orderflow.exits import Failed
from orderflow.help import Command
from orderflow.operating.pause import describe_pause
from orderflow.start.database import ask_postgres
from orderflow.start.settings import Settings, load_settings
from orderflow.terminal import json_line, printable

_WIDTH = 11
_DAY_MS = 86_400_000
_LONG_MS = 100_000
_CAME_AS = {
    REPLAY: "a replayed dead letter",
    REPEAT: "it repeats the stored order; the message that was stored is unknown",
    None: "the latest message, which may repeat the stored order",
}


class OrderUid(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """A uid that an order can have."""

    name = "UID"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Return the uid."""
        uid = str(value)
        try:
            size = len(uid.encode())
        except UnicodeEncodeError:
            self.fail("must be UTF-8", param, context)
        if not 0 < size <= MAX_KEY_BYTES or "\x00" in uid:
            self.fail(f"must be 1 to {MAX_KEY_BYTES} bytes of UTF-8 without NUL", param, context)
        return uid


@click.command(
    cls=Command,
    examples={
        "orderflow trace 7311c2ce6f447ed4d57b": "times, place, worker",
        "orderflow trace 7311c2ce6f447ed4d57b --json": "for programs",
        "orderflow trace -- -1": "a uid that begins with a dash",
    },
)
@click.argument("uid", type=OrderUid())
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def trace(uid: str, as_json: bool) -> None:
    """Show an order's processing steps: published, consumed, validated, committed, cached; and its dead letters.

    Uids are printed by `orderflow publish`, on the page and in the log. An unknown uid ends with exit code 1.
    """
    settings = load_settings()
    story = asyncio.run(ask_postgres(settings, lambda connection: _ask(connection, settings, uid)))
    if isinstance(story, Pauses):
        raise Failed(
            f"no order and no dead letter has the uid '{printable(uid)}': check that it is complete. If it was just "
            f"published, {_when_to_try_again(story)}"
        )
    click.echo(json_line(story) if as_json else "\n".join(describe(story)))


async def _ask(connection: Connection, settings: Settings, uid: str) -> Story | Pauses:
    """Return the story of an order; without one, what is paused, because the order may wait."""
    story = await fetch_story(connection, uid)
    if story is not None:
        return story
    return await fetch_pauses(connection, settings.kafka_group_id, settings.kafka_topic)


def _when_to_try_again(pauses: Pauses) -> str:
    if not pauses:
        return "try again in a second"
    return printable(f"it may wait: paused are {'; '.join(map(describe_pause, pauses))}")


def describe(story: Story) -> Iterator[str]:
    """Yield the lines of a story."""
    yield _line("order", story.order_uid)
    if story.stored:
        yield from _timeline(story)
    else:
        yield "it is not stored: only its dead letters are known"
    if story.source is not None:
        yield _line("message", _message(story.source))
    if story.trace_id is not None:
        yield _line("trace", story.trace_id)
    if story.batch_id is not None:
        yield _line("batch", f"{story.batch_id}  {'no longer kept' if story.batch is None else _counts(story.batch)}")
    if story.batch is not None:
        yield _line("worker", f"{story.batch.worker} on {story.batch.host}, group {story.batch.consumer_group}")
    if story.dead_letters:
        yield "dead letters (why: orderflow dlq show PARTITION:OFFSET)"
    if story.more_dead_letters:
        yield f"  only the last {MAX_LETTERS} are shown"
    for letter in story.dead_letters:
        yield f"  {printable(_letter(letter))}"


def _timeline(story: Story) -> Iterator[str]:
    assert story.created_at is not None
    assert story.updated_at is not None
    for step in story.steps:
        missing = "not yet" if step.step == "cached" and story.batch is not None else "unknown"
        took = "" if step.after_ms is None else f"  {_took(step.after_ms)}"
        yield _line(f"  {step.step}", f"{missing if step.at is None else _time(step.at)}{took}")
    if any(step.after_ms is not None and step.after_ms < 0 for step in story.steps):
        yield _line("clocks", "a step is earlier than the previous one: the clocks of the machines differ")
    yield _line("stored", _time(story.created_at))
    if story.updated_at > story.created_at:
        yield _line("changed", f"{_time(story.updated_at)}; the steps are those of this change")


def _took(milliseconds: float) -> str:
    """Return a duration in a unit that fits into its column."""
    if abs(milliseconds) >= _DAY_MS:
        return f"{milliseconds / _DAY_MS:+12,.1f} days"
    if abs(milliseconds) >= _LONG_MS:
        return f"{milliseconds / 1000:+12,.3f} s"
    return f"{milliseconds:+12,.3f} ms"


def _message(source: Source) -> str:
    place = f"{source.topic or ''} {source.partition}:{source.offset}".strip()
    if source.came_as == MESSAGE:
        return place
    return f"{place}, published {_time(source.produced_at)}: {_CAME_AS[source.came_as]}"


def _counts(batch: WrittenBy) -> str:
    counts = ", ".join(f"{getattr(batch, name)} {name}" for name in ("inserted", "changed", "unchanged", "rejected"))
    return f"{batch.messages} message{'' if batch.messages == 1 else 's'}: {counts}"


def _letter(letter: Letter) -> str:
    parts = [
        f"{letter.topic} {letter.partition}:{letter.offset}",
        letter.reason,
        f"published {_time(letter.produced_at)}",
        f"failed {_time(letter.failed_at)}",
        f"{letter.replay_count} replay{'' if letter.replay_count == 1 else 's'}",
        "not resolved" if letter.resolved_at is None else f"resolved {_time(letter.resolved_at)}",
    ]
    return "  ".join(parts)


def _line(name: str, text: str) -> str:
    return f"{name:{_WIDTH}}  {printable(text)}"


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "unknown"
    return f"{moment:%F %T}.{moment.microsecond // 1000:03} UTC"
