"""`orderflow offsets`: shows and changes the offsets in PostgreSQL, from which the engine consumes."""

import asyncio
import sys
from collections.abc import Sequence

import click
import structlog
from asyncpg import Connection
from click.shell_completion import CompletionItem

from orderflow import events
from orderflow.exits import Failed
from orderflow.help import Group
from orderflow.operating.offset_reset import Reset, apply_resets, plan_resets, stored_offsets
from orderflow.operating.offset_skip import apply_skip, plan_skip
from orderflow.parameters import WholeNumber
from orderflow.start.brokers import wait_for_topic
from orderflow.start.database import ask_postgres, change_postgres, with_postgres
from orderflow.start.logs import configure_logging, quieten_libraries
from orderflow.start.settings import load_settings
from orderflow.terminal import json_line


class Target(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """`earliest`, `latest`, or an offset."""

    name = "earliest|latest|OFFSET"

    def convert(self, value: str | int, param: click.Parameter | None, context: click.Context | None) -> str | int:
        """Return `earliest`, `latest` or the offset."""
        text = str(value)
        if text in {"earliest", "latest"}:
            return text
        if not text.isascii() or not text.isdigit():
            self.fail(f"{text!r} is neither earliest, latest nor an offset", param, context)
        return int(text)

    def shell_complete(self, _context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the completions of `incomplete`."""
        return [CompletionItem(word) for word in ("earliest", "latest") if word.startswith(incomplete)]


@click.group(
    cls=Group,
    examples={
        "orderflow offsets show": "how far each partition is consumed",
        "orderflow offsets reset --partition 2": "consume partition 2 again",
        "orderflow offsets skip --partition 2": "skip a broken batch",
    },
)
def offsets() -> None:
    """Show, reset or skip the stored offsets of the consumer group."""


@offsets.command(
    examples={
        "orderflow offsets show": "one line per partition",
        "orderflow offsets show --json": "for programs",
    }
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def show(as_json: bool) -> None:
    """Show the next offset of each partition."""
    settings = load_settings()
    rows = asyncio.run(ask_postgres(settings, lambda connection: stored_offsets(connection, settings)))
    columns = ("partition", "next_offset", "last_offset", "epoch", "updated_at")
    if as_json:
        click.echo(
            json_line([{"topic": settings.kafka_topic, **{name: row[name] for name in columns}} for row in rows])
        )
        return
    for row in rows:
        click.echo(
            f"partition {row['partition']}  next offset {row['next_offset']}  since {row['updated_at']:%F %T} UTC"
        )
    if not rows:
        click.echo(
            f"The group {settings.kafka_group_id!r} has no offsets in the topic {settings.kafka_topic!r}", err=True
        )


@offsets.command(
    examples={
        "orderflow offsets reset": "the whole topic again",
        "orderflow offsets reset --partition 2 --to 1500": "2 from 1500 on",
        "orderflow offsets reset --to latest --yes": "skip all waiting messages",
    }
)
@click.option(
    "--to", "target", type=Target(), metavar=Target.name, default="earliest", show_default=True, help="The next offset."
)
@click.option("--partition", type=WholeNumber(0), metavar="N", help="Only this partition. Default: all.")
@click.option("--yes", is_flag=True, help="Skip messages that are not consumed yet, without asking.")
def reset(target: str | int, partition: int | None, yes: bool) -> None:
    """Set the next offset of each partition.

    A running engine continues from there with its next batch.

    Consuming messages again is safe: an older message does not replace a newer stored order. Skipping messages is not
    safe: on a terminal the command asks first, elsewhere it needs --yes.
    """
    quieten_libraries()
    settings = load_settings()

    async def work(connection: Connection) -> None:
        await wait_for_topic(settings, settings.kafka_topic)
        resets = await plan_resets(connection, settings, target, partition)
        if not yes:
            _confirm_skipping([reset for reset in resets if reset.skipped])
        await change_postgres(settings, lambda own: apply_resets(own, settings, resets))
        for reset in resets:
            note = " (the topic was recreated)" if reset.topic_changed else ""
            before = "none" if reset.previous is None else reset.previous
            click.echo(f"partition {reset.partition}  next offset {before} → {reset.next_offset}{note}")

    asyncio.run(with_postgres(settings, work))


@offsets.command(
    examples={
        "orderflow offsets skip --partition 2": "past the broken batch",
        "orderflow offsets skip --partition 2 --to 1500": "continue at 1500",
    }
)
@click.option("--partition", type=WholeNumber(0), metavar="N", required=True, help="The refused partition.")
@click.option(
    "--to", "target", type=WholeNumber(1), metavar="OFFSET", help="The next offset. Default: after the batch."
)
@click.option("--yes", is_flag=True, help="Skip without asking: the skipped messages are lost.")
def skip(partition: int, target: int | None, yes: bool) -> None:
    """Skip a batch that cannot be read.

    Only for a partition that is refused because of a broken batch (corrupt_batch). First look for an intact replica: if
    it becomes the leader, the partition continues by itself. Skipped messages are lost; their offsets are printed. A
    running engine continues within seconds.
    """
    quieten_libraries()
    settings = load_settings()
    configure_logging(settings, component="offsets")

    async def work(connection: Connection) -> None:
        await wait_for_topic(settings, settings.kafka_topic)
        plan = await plan_skip(connection, settings, partition, target)
        lost = f"offsets {plan.begin} to {plan.end - 1} of partition {partition}"
        if plan.begin == plan.end:
            await change_postgres(settings, lambda own: apply_skip(own, settings, plan))
            click.echo(
                f"partition {partition}  next offset {plan.end}: nothing is lost. "
                "The unreadable batch was already consumed, and is no longer compared with the topic"
            )
            return
        if not yes:
            count = plan.end - plan.begin
            _confirm(f"this loses {lost}, {count} {'message' if count == 1 else 'messages'} at most")
        await change_postgres(settings, lambda own: apply_skip(own, settings, plan))
        structlog.get_logger().warning(
            events.OFFSETS_SKIPPED,
            topic=settings.kafka_topic,
            partition=partition,
            offset=plan.begin,
            last_offset=plan.end - 1,
            next_offset=plan.end,
        )
        click.echo(f"partition {partition}  next offset {plan.begin} → {plan.end}: {lost} are lost")

    asyncio.run(with_postgres(settings, work))


def _confirm_skipping(resets: Sequence[Reset]) -> None:
    """Return if `resets` is empty or a person confirms them. Raises `Failed` and `click.UsageError`."""
    if not resets:
        return
    counts = ", ".join(f"{reset.skipped} of partition {reset.partition}" for reset in resets)
    _confirm(f"this skips messages that are not consumed yet: {counts}")


def _confirm(warning: str) -> None:
    """Return if a person says yes. Raises `Failed` if not, and `click.UsageError` without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{warning}. Nothing was changed: use --yes to do it")
    if not click.confirm(f"{warning[0].upper()}{warning[1:]}. Continue?", err=True):
        raise Failed("nothing was changed")
