"""`orderflow dlq`: lists, shows, replays and publishes dead letters."""

import asyncio
from collections.abc import Callable
from typing import Any

import attrs
import click
from asyncpg import Connection
from lookup.letters.masking import masked_view

from engine.dead_letters.list import (
    Selection,
    count_letters,
    describe_letter,
    find_letter,
    list_letters,
    state_of,
    stored_reasons,
    summarise,
)
from engine.dead_letters.store import Owner
from engine.records import Place
from handlers.model import SUBJECT_NAME
from handlers.reasons import REASONS
from orderflow.exits import Failed
from orderflow.help import Group
from orderflow.operating.letter_lines import letter_lines
from orderflow.operating.letter_publishing import publish_letters
from orderflow.operating.letters_of_groups import check_group, inactive_groups, owner_of
from orderflow.operating.replay import describe_counts, replay_letters
from orderflow.parameters import Moment, PlaceType, Reason, WholeNumber, Word
from orderflow.start.database import ask_postgres, with_postgres
from orderflow.start.logs import configure_logging, quieten_libraries
from orderflow.start.settings import load_settings
from orderflow.terminal import json_line, printable

DEFAULT_LIMIT = 100
MAX_LISTED = 100_000


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option(
            "--reason",
            "reasons",
            type=Reason(),
            multiple=True,
            help=f"Only this reason: {', '.join(REASONS)}. May be repeated.",
        ),
        click.option("--uid", "uids", type=Word(), multiple=True, help="Only this order's uid; may be repeated."),
        click.option(
            "--since", type=Moment(), help="Failed at this time or later: RFC 3339, or 90s, 15m, 1h, 2d, 1w ago."
        ),
        click.option("--until", type=Moment(), help="Failed before this time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_group = click.option(
    "--group", type=Word(), metavar="NAME", help="The letters of this consumer group. Default: KAFKA_GROUP_ID."
)


async def _check_reasons(connection: Connection, owner: Owner, reasons: tuple[str, ...]) -> None:
    """Raise for an unknown reason: neither a reason of orders nor one that a stored letter has."""
    if unknown := set(reasons) - set(REASONS):
        allowed = {*REASONS, *await stored_reasons(connection, owner)}
        for reason in sorted(unknown - allowed):
            problem = f"{printable(reason)!r} is not one of {', '.join(sorted(allowed))}"
            raise click.BadParameter(problem, param_hint="'--reason'")


def _selection(**narrowing: Any) -> Selection:
    selection = Selection(**narrowing)
    if selection.since and selection.until and selection.since >= selection.until:
        raise click.UsageError("--since must be before --until.")
    return selection


@click.group(
    cls=Group,
    examples={
        "orderflow dlq list --since 1h": "which letters, and why",
        "orderflow dlq show 2:57": "all errors of one letter",
        "orderflow dlq replay --since 1h --dry-run": "count without sending",
        "orderflow dlq publish --group old": "unsent letters of an old group",
    },
)
def dlq() -> None:
    """List, show, replay or publish dead letters: the messages that were rejected."""


@dlq.command(
    "list",
    short_help="List letters with their reasons.",
    examples={
        "orderflow dlq list": "the last 100",
        "orderflow dlq list --reason invalid_json --since 2d": "last 2 days",
        "orderflow dlq list --uid 7311c2ce6f447ed4d57b --all": "of one order",
        "orderflow dlq list --json --max 1000": "for programs",
    },
)
@_filters
@_group
@click.option("--all", "resolved_too", is_flag=True, help="Include resolved letters.")
@click.option(
    "--max",
    "maximum",
    type=WholeNumber(1, MAX_LISTED),
    metavar="N",
    default=DEFAULT_LIMIT,
    show_default=True,
    help="List at most N letters.",
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def list_command(*, group: str | None, maximum: int, as_json: bool, **narrowing: Any) -> None:
    """List the unresolved letters, latest failure first.

    Standard error shows their number by reason, and other groups that have letters but no running worker.
    """
    selection = _selection(**narrowing)
    settings = load_settings()
    owner = owner_of(settings, group)

    async def work(connection: Connection) -> tuple[list[Any], dict[str, int], list[str]]:
        await check_group(connection, settings, owner)
        await _check_reasons(connection, owner, selection.reasons)
        letters = await list_letters(connection, owner, selection, maximum)
        inactive = await inactive_groups(connection, settings) if group is None else []
        return letters, await count_letters(connection, owner, selection), inactive

    letters, counts, inactive = asyncio.run(ask_postgres(settings, work))
    if as_json:
        click.echo(json_line([summarise(letter, SUBJECT_NAME) for letter in letters]))
    else:
        for letter in letters:
            click.echo(_line(letter))
    click.echo(describe_counts(counts), err=True)
    left = sum(counts.values()) - len(letters)
    if left > 0:
        click.echo(f"{left} more are not shown (--max {maximum})", err=True)
    for line in inactive:
        click.echo(line, err=True)


def _line(letter: Any) -> str:
    errors, replays = letter["error_count"], letter["replay_count"]
    return "  ".join(
        (
            f"{letter['topic']} {letter['partition']}:{letter['kafka_offset']}",
            f"{letter['failed_at']:%F %T} UTC",
            printable(letter["reason"]),
            printable(letter["subject"] or "-"),
            f"{errors} error{'' if errors == 1 else 's'}",
            f"{replays} replay{'' if replays == 1 else 's'}",
            state_of(letter),
        )
    )


@dlq.command(
    short_help="Show one letter with all its errors.",
    examples={
        "orderflow dlq show 2:57": "the place as dlq list prints it",
        "orderflow dlq show 2:57 --payload": "with the message",
        "orderflow dlq show 2:57 --json": "for programs",
    },
)
@click.argument("place", type=PlaceType())
@_group
@click.option("--payload", is_flag=True, help="Show key, value and headers: they may hold personal data.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def show(place: Place, group: str | None, payload: bool, as_json: bool) -> None:
    """Show the letter at PARTITION:OFFSET, with all its errors.

    Without --payload, --json shows the message with its values masked: their kinds, and the lengths of texts.
    """
    settings = load_settings()
    owner = owner_of(settings, group)

    async def work(connection: Connection) -> Any:
        await check_group(connection, settings, owner)
        return await find_letter(connection, owner, place)

    letter = asyncio.run(ask_postgres(settings, work))
    if letter is None:
        problem = f"there is no dead letter at {place[0]}:{place[1]} of the topic {settings.kafka_topic!r}"
        raise Failed(f"{problem}: `orderflow dlq list --all` lists all letters")
    description = describe_letter(letter, SUBJECT_NAME, payload=payload)
    description |= {} if payload else masked_view(letter["payload"])
    click.echo(json_line(description) if as_json else "\n".join(letter_lines(description)))


@dlq.command(
    short_help="Send letters to their partitions again.",
    examples={
        "orderflow dlq replay 2:57 2:58": "these two letters",
        "orderflow dlq replay --since 1h --dry-run": "only count",
        "orderflow dlq replay --reason refused_by_database": "by reason",
        "orderflow dlq replay --everything --max 500": "the first 500",
    },
)
@click.argument("places", type=PlaceType(), nargs=-1)
@_filters
@_group
@click.option("--everything", is_flag=True, help="Replay all unresolved letters, without a filter.")
@click.option("--max", "maximum", type=WholeNumber(1), metavar="N", help="Replay at most N letters. Default: all.")
@click.option("--dry-run", is_flag=True, help="Only count, by reason, the letters to replay and to skip.")
@click.option("--force", is_flag=True, help="Let a replayed order replace a newer one.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def replay(
    *,
    places: tuple[Place, ...],
    group: str | None,
    everything: bool,
    maximum: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
    **narrowing: Any,
) -> None:
    """Send unresolved letters to their original partitions again.

    Each message counts as old as when it first arrived: it never replaces a newer order. A letter is resolved when its
    message is accepted. If the message is rejected again, it stays the same letter, with one replay more.
    """
    selection = _selection(**narrowing, places=tuple(dict.fromkeys(places)))
    if everything and selection.narrowed:
        raise click.UsageError("--everything cannot be combined with a filter.")
    if not (everything or selection.narrowed or dry_run):
        raise click.UsageError("choose letters: give a filter, their places, or --everything.")
    settings = load_settings()
    quieten_libraries(settings)
    owner = owner_of(settings, group)

    async def work(connection: Connection) -> None:
        await check_group(connection, settings, owner)
        await _check_reasons(connection, owner, selection.reasons)
        await replay_letters(
            connection, settings, owner, selection, maximum=maximum, forced=force, dry_run=dry_run, as_json=as_json
        )

    asyncio.run(with_postgres(settings, work))


@dlq.command(
    short_help="Send waiting letters to the dead-letter topic.",
    examples={
        "orderflow dlq publish --group old": "unsent letters of an old group",
        "orderflow dlq publish --refused": "once the topic is fixed",
    },
)
@_group
@click.option("--refused", "refused_too", is_flag=True, help="Include letters that the topic refused before.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def publish(group: str | None, refused_too: bool, as_json: bool) -> None:
    """Send waiting letters to the dead-letter topic (KAFKA_DLQ_TOPIC).

    A running engine does this by itself for its own group: this command is for a group without an engine. A letter that
    the topic will never accept, because it is too large or has no key, is set aside: it stays in the table, with the
    reason.
    """
    settings = load_settings()
    # The report says everything: a log line per letter would only hide it.
    configure_logging(settings if settings.log_level == "debug" else attrs.evolve(settings, log_level="error"))
    quieten_libraries(settings)
    owner = owner_of(settings, group)

    async def work(connection: Connection) -> None:
        await check_group(connection, settings, owner)
        await publish_letters(connection, settings, owner, refused_too=refused_too, as_json=as_json)

    asyncio.run(with_postgres(settings, work))
