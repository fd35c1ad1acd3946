"""`orderflow lag`: shows how far behind the engine is."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import click
from aiokafka.errors import KafkaError
from asyncpg import Connection
from lookup.operations.owners import FOREIGN
from lookup.operations.pauses import render_pause

from engine.kafka.lag import Lag
from engine.postgres.pauses import Pauses, fetch_pauses
from orderflow.exits import Failed
from orderflow.help import Command
from orderflow.operating.lag import EngineLag
from orderflow.operating.pause import describe_pause
from orderflow.progress import told_if_slow
from orderflow.start.brokers import wait_for_topic
from orderflow.start.database import with_postgres
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import Settings, load_settings
from orderflow.table import table
from orderflow.terminal import json_line, printable

WATCH_S = 1.0
_COLUMNS = ("partition", "messages", "seconds", "held", "next offset", "end", "owner", "")
_TEXT_COLUMNS = ("partition", "owner", "")


@click.command(
    cls=Command,
    examples={
        "orderflow lag": "one line per partition",
        "orderflow lag --watch": "repeat every second",
        "orderflow lag --json": "for programs",
    },
)
@click.option("--watch", is_flag=True, help="Repeat every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One array on standard output; with --watch, one per line.")
def lag(watch: bool, as_json: bool) -> None:
    """Show how far behind the engine is: by partition, in messages and in seconds.

    The seconds are the age of the first waiting message. Held messages are behind an open transaction: they cannot be
    consumed yet, and do not count as lag. The owner is the worker that has the partition, or "foreign": a
    member of the group that is not a worker of this database. An unknown value is shown as a dash. What an operator
    has paused is shown with since when and by whom.
    """
    quieten_libraries()
    settings = load_settings()
    with suppress(KeyboardInterrupt) if watch else nullcontext():  # Ctrl-C is the normal end of --watch
        asyncio.run(
            with_postgres(settings, lambda connection: _show(connection, settings, watch=watch, as_json=as_json))
        )


async def _show(connection: Connection, settings: Settings, *, watch: bool, as_json: bool) -> None:
    await wait_for_topic(settings, settings.kafka_topic)
    reader = EngineLag(settings)
    try:
        while True:
            async with told_if_slow("waiting for PostgreSQL and Kafka"):
                pauses = await fetch_pauses(connection, settings.kafka_group_id, settings.kafka_topic)
                lags = await _read(reader, connection)
                owners = await reader.read_owners(connection, again=watch)
            if as_json:
                click.echo(json_line([_describe(settings.kafka_topic, row, owners, pauses) for row in lags]))
            else:
                _print(lags, owners, await _leaderless(reader, lags), with_time=watch)
                for pause in pauses:
                    click.echo(printable(f"paused: {describe_pause(pause)}"))
            if not watch:
                return
            await asyncio.sleep(WATCH_S)
    finally:
        await reader.close()


async def _read(reader: EngineLag, connection: Connection) -> list[Lag]:
    try:
        return await reader.read(connection)
    except (KafkaError, TimeoutError) as error:
        raise Failed(f"Kafka did not return its offsets: {type(error).__name__}") from None


async def _leaderless(reader: EngineLag, lags: list[Lag]) -> set[int]:
    """Return the partitions whose lag is unknown because they have no leader."""
    if all(row.end_offset is not None for row in lags):
        return set()
    with suppress(KafkaError, OSError):
        return await reader.read_leaderless()
    return set()


def _print(lags: list[Lag], owners: Mapping[int, str | None], leaderless: set[int], *, with_time: bool) -> None:
    if with_time:
        click.echo(f"{datetime.now(UTC):%T} UTC")
    for line in describe(lags, owners, leaderless):
        click.echo(line)


def describe(lags: list[Lag], owners: Mapping[int, str | None], leaderless: set[int]) -> list[str]:
    """Return one line per partition, and the totals: the longest wait, and the sum of what is known."""
    rows = [
        (
            str(row.partition),
            *_waiting(row.messages, row.seconds, row.held),
            _number(row.next_offset),
            _number(row.end_offset),
            printable(owners.get(row.partition) or "–"),
            _note(row.partition in leaderless, owners.get(row.partition)),
        )
        for row in lags
    ]
    unknown = sum(row.messages is None for row in lags)
    note = f"without {unknown} of {len(lags)} partitions, whose lag is unknown" if unknown else ""
    sums = _waiting(_sum(row.messages for row in lags), _longest(lags), _sum(row.held for row in lags))
    return table(_COLUMNS, [*rows, ("total", *sums, "", "", "", note)], text=_TEXT_COLUMNS)


def _waiting(messages: int | None, seconds: float | None, held: int | None) -> tuple[str, str, str]:
    return _number(messages), "–" if seconds is None else f"{seconds:,.1f}", _number(held)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _describe(topic: str, row: Lag, owners: Mapping[int, str | None], pauses: Pauses) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": row.partition,
        "lag": row.messages,
        "lag_s": row.seconds,
        "next_offset": row.next_offset,
        "end_offset": row.end_offset,
        "held_by_transaction": row.held,
        "owner": owners.get(row.partition),
        **render_pause(pauses.of(row.partition)),
    }


def _longest(lags: list[Lag]) -> float | None:
    """Return the longest wait; None if the wait of any partition is unknown."""
    seconds = [row.seconds for row in lags]
    known = [value for value in seconds if value is not None]
    return max(known, default=None) if len(known) == len(seconds) else None


def _note(without_leader: bool, owner: str | None) -> str:
    notes = ["no leader"] if without_leader else []
    notes += ["see `orderflow doctor`"] if owner == FOREIGN else []
    return ", ".join(notes)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
