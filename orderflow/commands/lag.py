"""`orderflow lag`: shows how far behind the engine is."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import click
from aiokafka.errors import KafkaError
from asyncpg import Connection
from lookup.operations.owners import FOREIGN
from lookup.operations.pauses import render_pause
from msgspec import json

from engine.kafka.lag import Lag
from engine.postgres.pauses import Pauses, fetch_pauses
from orderflow.exits import Failed
from orderflow.help import Command
from orderflow.operating.lag import EngineLag
from orderflow.operating.pause import describe_pause
from orderflow.start.brokers import wait_for_topic
from orderflow.start.database import with_postgres
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import Settings, load_settings

WATCH_S = 1.0


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

    The seconds are the age of the first waiting message. Messages behind an open transaction cannot be consumed yet:
    they are shown separately, and do not count as lag. The owner is the worker that has the partition, or "foreign": a
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
            pauses = await fetch_pauses(connection, settings.kafka_group_id, settings.kafka_topic)
            lags = await _read(reader, connection)
            owners = await reader.read_owners(connection, again=watch)
            if as_json:
                click.echo(json.encode([_describe(settings.kafka_topic, row, owners, pauses) for row in lags]))
            else:
                _print(lags, owners, await _leaderless(reader, lags), with_time=watch)
                for pause in pauses:
                    click.echo(f"paused: {describe_pause(pause)}")
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
    for row in lags:
        click.echo(
            f"partition {row.partition}  {_number(row.messages)} messages  {_seconds(row.seconds)}  "
            f"next offset {_number(row.next_offset)}  end {_number(row.end_offset)}  "
            f"owner {_owner(owners.get(row.partition))}{_held(row)}"
            f"{'  no leader' if row.partition in leaderless else ''}"
        )
    known = [row.messages for row in lags if row.messages is not None]
    unknown = len(lags) - len(known)
    click.echo(
        f"total  {_number(sum(known) if known else None)} messages  {_seconds(_longest(lags))}"
        f"{f'  without {unknown} of {len(lags)} partitions, whose lag is unknown' if unknown else ''}"
    )


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


def _owner(name: str | None) -> str:
    return {None: "–", FOREIGN: "foreign: see `orderflow doctor`"}.get(name, name or "")


def _held(row: Lag) -> str:
    return f"  {row.held:,} held by an open transaction" if row.held else ""


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "– s" if value is None else f"{value:,.1f} s"
