"""`orderflow prune`: deletes resolved dead letters and old batches."""

import asyncio
from datetime import UTC, datetime

import click
from asyncpg import Connection

from orderflow.commands.dlq import Moment
from orderflow.database import with_postgres
from orderflow.retention import Pruned, count_old, delete_old
from orderflow.settings import load_settings


@click.command()
@click.option(
    "--older-than",
    "before",
    type=Moment(),
    default="30d",
    show_default=True,
    help="Resolved, or committed, so long ago (90s, 15m, 1h, 2d, 1w), or before this RFC 3339 time.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many would be deleted.")
def prune(before: datetime, dry_run: bool) -> None:
    """Delete what has had its time: dead letters that were resolved, and the rows of batches.

    Never deleted are letters that are not resolved or not yet in the dead-letter topic, batches that the cache has not
    followed, and the newest 1,000 batches. Orders stay as they are; the story of one whose batch is gone says less. A
    running engine is not disturbed.
    """
    if before > datetime.now(UTC):
        raise click.UsageError("--older-than must not be in the future.")
    settings = load_settings()
    pruned = Pruned()

    async def work(connection: Connection) -> Pruned:
        if dry_run:
            return await count_old(connection, settings, before)
        await delete_old(connection, settings, before, pruned)
        return pruned

    try:
        done = asyncio.run(with_postgres(settings, work))
    except BaseException:
        if pruned != Pruned():
            click.echo(_told("Deleted", pruned, before))
        raise
    click.echo(_told("Would delete" if dry_run else "Deleted", done, before))


def _told(what: str, pruned: Pruned, before: datetime) -> str:
    letters = f"{pruned.letters} resolved dead letter{'' if pruned.letters == 1 else 's'}"
    batches = f"{pruned.batches} batch{'' if pruned.batches == 1 else 'es'}"
    return f"{what} {letters} and {batches} from before {before:%F %T} UTC"
