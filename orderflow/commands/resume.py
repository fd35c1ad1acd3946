"""`orderflow resume`: ends pauses."""

import asyncio

import click

from engine.postgres.pauses import EVERY
from engine.records import HIGHEST_PARTITION
from orderflow.help import Command
from orderflow.operating.pause import describe_pause, end_pauses
from orderflow.parameters import WholeNumber
from orderflow.progress import say
from orderflow.start.database import with_postgres
from orderflow.start.settings import load_settings


@click.command(
    cls=Command,
    examples={
        "orderflow resume": "end all pauses",
        "orderflow resume --partition 2": "end the pause of one partition",
    },
)
@click.option("--partition", type=WholeNumber(0, HIGHEST_PARTITION), metavar="N", help="Only this one. Default: all.")
def resume(partition: int | None) -> None:
    """Consume again what `orderflow pause` has paused.

    Without --partition all pauses end, also those of single partitions. The workers on all machines continue within
    about a second, at the offsets stored in PostgreSQL.
    """
    settings = load_settings()
    wanted = EVERY if partition is None else partition
    ended, left = asyncio.run(with_postgres(settings, lambda connection: end_pauses(connection, settings, wanted)))
    for pause in ended:
        click.echo(f"Resumed: {describe_pause(pause)}")
    if not ended:
        click.echo("Nothing was paused" if partition is None else f"Partition {partition} was not paused")
    for pause in left:
        say(f"Still paused: {describe_pause(pause)}")
