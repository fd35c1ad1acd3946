"""`orderflow prune`: deletes resolved dead letters and old batches."""

import asyncio
import sys
from datetime import UTC, datetime

import click
from asyncpg import Connection

from orderflow.help import Command
from orderflow.operating.retention import Pruned, count_old, delete_old
from orderflow.parameters import Moment
from orderflow.progress import progress_bar
from orderflow.start.database import with_postgres
from orderflow.start.settings import load_settings
from orderflow.terminal import json_line


@click.command(
    cls=Command,
    examples={
        "orderflow prune --dry-run": "only count",
        "orderflow prune": "delete rows older than 30 days",
        "orderflow prune --older-than 1w": "delete rows older than a week",
    },
)
@click.option(
    "--older-than",
    "before",
    type=Moment(),
    default="30d",
    show_default=True,
    help="Age since the letter was resolved or the batch committed (90s, 15m, 1h, 2d, 1w), or an RFC 3339 time.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="One object on standard output.")
def prune(before: datetime, dry_run: bool, as_json: bool) -> None:
    """Delete old data: resolved dead letters, and the rows of batches.

    It never deletes letters that are unresolved or not yet in the dead-letter topic, batches that are not cached yet,
    or the newest 1,000 batches. It deletes batches of this consumer group, and letters of all groups. Orders are not
    changed, but `trace` shows less about an order after its batch was deleted. The engine may run at the same time.
    """
    if before > datetime.now(UTC):
        raise click.UsageError("--older-than must not be in the future.")
    settings = load_settings()
    pruned = Pruned()

    async def work(connection: Connection) -> Pruned:
        if dry_run:
            return await count_old(connection, settings, before)
        with progress_bar("Deleting", await _rows(connection)) as progress:
            await delete_old(connection, settings, before, pruned, progress)
        return pruned

    async def _rows(connection: Connection) -> int:
        """Count the rows to delete for the progress bar, if standard error is a terminal."""
        if not sys.stderr.isatty():
            return 0
        old = await count_old(connection, settings, before)
        return old.letters + old.batches

    try:
        done = asyncio.run(with_postgres(settings, work))
    except BaseException:
        if pruned != Pruned():
            click.echo(_report(pruned, before, dry_run=False, as_json=as_json))
        raise
    click.echo(_report(done, before, dry_run=dry_run, as_json=as_json))


def _report(pruned: Pruned, before: datetime, *, dry_run: bool, as_json: bool) -> str | bytes:
    if as_json:
        counts = {"dead_letters": pruned.letters, "batches": pruned.batches}
        return json_line({"dry_run": dry_run, "before": before, **counts})
    letters = f"{pruned.letters} resolved dead letter{'' if pruned.letters == 1 else 's'}"
    batches = f"{pruned.batches} batch{'' if pruned.batches == 1 else 'es'}"
    return f"{'Would delete' if dry_run else 'Deleted'} {letters} and {batches} from before {before:%F %T} UTC"
