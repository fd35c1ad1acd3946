"""`orderflow dlq`: what was rejected and why, and a second chance for it."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from asyncpg import Connection
from msgspec import json

from engine.dead_letter_list import (
    Selection,
    count_letters,
    describe_letter,
    find_letter,
    list_letters,
    parse_place,
    state_of,
    summarise,
)
from engine.records import Place
from handlers.moments import parse_moment
from handlers.reasons import REASONS
from orderflow.database import with_postgres
from orderflow.exits import Failed
from orderflow.replay import describe_counts, replay_letters
from orderflow.settings import load_settings
from orderflow.terminal import printable

DEFAULT_MAXIMUM = 100
MOST_LISTED = 100_000


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """An RFC 3339 time, or how long ago."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> datetime:
        """Return the moment in UTC."""
        try:
            return parse_moment(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, context)


class PlaceType(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """A letter's place: PARTITION:OFFSET, as `dlq list` prints it."""

    name = "PARTITION:OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Place:
        """Return the partition and the offset."""
        try:
            return parse_place(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, context)


class Word(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """Text that PostgreSQL can compare."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Return the text."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("must be UTF-8", param, context)
        if not text:
            self.fail("must not be empty", param, context)
        return text


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option(
            "--reason", "reasons", type=click.Choice(REASONS), multiple=True, help="Only this reason; may be repeated."
        ),
        click.option("--uid", "uids", type=Word(), multiple=True, help="Only this order's uid; may be repeated."),
        click.option("--since", type=Moment(), help="Failed at this time or later: RFC 3339, or 90s, 15m, 1h, 2d ago."),
        click.option("--until", type=Moment(), help="Failed before this time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _selection(**narrowing: Any) -> Selection:
    selection = Selection(**narrowing)
    if selection.since and selection.until and selection.since >= selection.until:
        raise click.UsageError("--since must be before --until.")
    return selection


@click.group()
def dlq() -> None:
    """List, show or replay dead letters: the messages that were rejected."""


@dlq.command("list")
@_filters
@click.option("--all", "resolved_too", is_flag=True, help="Resolved letters too.")
@click.option("--max", "maximum", type=click.IntRange(1, MOST_LISTED), default=DEFAULT_MAXIMUM, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def list_command(*, maximum: int, as_json: bool, **narrowing: Any) -> None:
    """List the letters that are not resolved, those that failed last first.

    Their number by reason is told on standard error.
    """
    selection = _selection(**narrowing)
    settings = load_settings()

    async def work(connection: Connection) -> tuple[list[Any], dict[str, int]]:
        letters = await list_letters(connection, settings.kafka_topic, selection, maximum)
        return letters, await count_letters(connection, settings.kafka_topic, selection)

    letters, counts = asyncio.run(with_postgres(settings, work))
    if as_json:
        click.echo(json.encode([summarise(letter) for letter in letters]))
    else:
        for letter in letters:
            click.echo(_line(letter))
    click.echo(describe_counts(counts), err=True)
    left = sum(counts.values()) - len(letters)
    if left > 0:
        click.echo(f"{left} more are not shown (--max {maximum})", err=True)


def _line(letter: Any) -> str:
    errors, replays = letter["error_count"], letter["replay_count"]
    return "  ".join(
        (
            f"{letter['topic']} {letter['partition']}:{letter['kafka_offset']}",
            f"{letter['failed_at']:%F %T} UTC",
            letter["reason"],
            printable(letter["subject"] or "-"),
            f"{errors} error{'' if errors == 1 else 's'}",
            f"{replays} replay{'' if replays == 1 else 's'}",
            state_of(letter),
        )
    )


@dlq.command()
@click.argument("place", type=PlaceType())
@click.option("--payload", is_flag=True, help="Its key, value and headers too: they may hold personal data.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def show(place: Place, payload: bool, as_json: bool) -> None:
    """Show the letter at PARTITION:OFFSET, with all the reasons for its rejection."""
    settings = load_settings()
    letter = asyncio.run(with_postgres(settings, lambda c: find_letter(c, settings.kafka_topic, place)))
    if letter is None:
        raise Failed(f"there is no dead letter at {place[0]}:{place[1]} of the topic {settings.kafka_topic!r}")
    told = describe_letter(letter, payload=payload)
    click.echo(json.encode(told) if as_json else "\n".join(_block(told)))


def _block(told: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in told.items():
        match value:
            case [*entries]:
                lines += [f"{name}:", *(f"  {_entry(entry)}" for entry in entries)] if entries else []
            case None | "":
                continue
            case datetime():
                lines.append(f"{name}: {value:%F %T.%f} UTC")
            case _:
                lines.append(f"{name}: {printable(str(value))}")
    return lines


def _entry(entry: dict[str, Any]) -> str:
    """Return an error or a header in one line: its first value names it."""
    name, *rest = entry.values()
    return printable(": ".join([name or "(the message)", *map(str, rest)]))


@dlq.command()
@click.argument("places", type=PlaceType(), nargs=-1)
@_filters
@click.option("--everything", is_flag=True, help="All letters that are not resolved, without any filter.")
@click.option("--max", "maximum", type=click.IntRange(1), help="At most so many letters.")
@click.option("--dry-run", is_flag=True, help="Only say how many would be replayed, by reason, and how many skipped.")
@click.option("--force", is_flag=True, help="Let a replayed order replace a newer one.")
def replay(
    *, places: tuple[Place, ...], everything: bool, maximum: int | None, dry_run: bool, force: bool, **narrowing: Any
) -> None:
    """Send letters that are not resolved to their original partitions again.

    Each competes as if it had arrived where it did at first: it never replaces a newer order. A letter is resolved
    when it is accepted; rejected again, it is the same letter with one replay more.
    """
    selection = _selection(**narrowing, places=tuple(dict.fromkeys(places)))
    if everything and selection.narrowed:
        raise click.UsageError("--everything does not go with a filter.")
    if not (everything or selection.narrowed or dry_run):
        raise click.UsageError("say which letters: a filter, their places, or --everything.")
    settings = load_settings()
    if settings.log_level != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is said in one line at the end

    async def work(connection: Connection) -> None:
        await replay_letters(connection, settings, selection, maximum=maximum, forced=force, dry_run=dry_run)

    asyncio.run(with_postgres(settings, work))
