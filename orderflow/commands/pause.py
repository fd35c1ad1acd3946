"""`orderflow pause`: stops consumption until `orderflow resume`."""

import asyncio
from collections.abc import Sequence

import click
from asyncpg import Connection

from engine.postgres.pauses import EVERY
from engine.records import HIGHEST_PARTITION
from orderflow.help import Command
from orderflow.operating.pause import (
    check_partition,
    describe_pause,
    place_pause,
    user_at_host,
    wait_until_drained,
)
from orderflow.parameters import WholeNumber
from orderflow.progress import say
from orderflow.start.database import with_postgres
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import Settings, load_settings


@click.command(
    cls=Command,
    examples={
        "orderflow pause": "before the database's maintenance",
        "orderflow pause --partition 2": "while one partition is flooded",
        "orderflow lag": "what is paused, since when, by whom",
        "orderflow resume": "consume everything again",
    },
)
@click.option("--partition", type=WholeNumber(0, HIGHEST_PARTITION), metavar="N", help="Only this one. Default: all.")
def pause(partition: int | None) -> None:
    """Stop consuming, until `orderflow resume`.

    The workers on all machines fetch no more messages, and write what they have fetched before. The command waits for
    that, up to START_TIMEOUT_S seconds: after exit code 0, orders no longer change. If it takes longer, the pause stays
    and the exit code is 1. Messages wait in Kafka; nothing is lost as long as its retention is longer than the pause.

    The pause is stored in PostgreSQL: it survives restarts and rebalances, and applies to engines started later.
    Lookups, the page, dead letters and the cache go on.
    """
    quieten_libraries()
    settings = load_settings()
    asyncio.run(_pause(settings, partition))


async def _pause(settings: Settings, partition: int | None) -> None:
    if partition is not None:
        await check_partition(settings, partition)
    await with_postgres(settings, lambda connection: _pause_and_wait(connection, settings, partition))


async def _pause_and_wait(connection: Connection, settings: Settings, partition: int | None) -> None:
    wanted = EVERY if partition is None else partition
    pauses, is_new = await place_pause(connection, settings, wanted, user_at_host())
    placed = next(one for one in pauses if one.partition == wanted)
    click.echo(f"{'Paused' if is_new else 'Already paused'}: {describe_pause(placed)}")
    say(f"`orderflow resume{'' if partition is None else f' --partition {partition}'}` ends it")

    def waiting(unfinished: Sequence[str]) -> None:
        say(f"Waiting until what is in flight is written, by {', '.join(unfinished)}")

    workers = await wait_until_drained(connection, settings, placed, settings.start_timeout_s, waiting)
    if workers:
        click.echo("Nothing is in flight any more")
    else:
        click.echo("No engine runs; one that is started now pauses")
