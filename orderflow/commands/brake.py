"""`orderflow brake`: what pauses consumption when too much of late was rejected."""

import asyncio
from typing import Any

import click
from msgspec import json

from engine.stages.brake_pause import engaged_brakes, release_brakes
from orderflow.help import Group
from orderflow.start.database import with_postgres
from orderflow.start.settings import Settings, load_settings


@click.group(
    cls=Group,
    examples={
        "orderflow brake status": "who pauses, and until when",
        "orderflow dlq list --since 15m": "what was rejected",
        "orderflow brake release": "once the producer is mended",
    },
)
def brake() -> None:
    """Show or release the brake.

    A worker pauses when more than BRAKE_SHARE of its last BRAKE_WINDOW messages were rejected: something upstream is
    broken, and the whole topic would become dead letters. It tries again after BRAKE_PAUSE_S seconds.
    """


@brake.command(
    examples={
        "orderflow brake status": "a line for each worker that pauses",
        "orderflow brake status --json": "[] when none does",
    }
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def status(as_json: bool) -> None:
    """Show the workers that pause now, on all machines."""
    settings = load_settings()
    rows = asyncio.run(with_postgres(settings, lambda c: engaged_brakes(c, *_consumer(settings))))
    if as_json:
        click.echo(json.encode([{"topic": settings.kafka_topic, **row} for row in rows]))
        return
    for row in rows:
        click.echo(_line(row))
    if rows:
        click.echo("See `orderflow dlq list` for the reasons; `orderflow brake release` goes on at once", err=True)
    else:
        click.echo("The brake is released: no worker pauses")


def _line(row: Any) -> str:
    who = f"{row['host']} {row['supervisor']} {row['worker']}"
    return (
        f"{who}  pauses since {row['engaged_at']:%F %T} UTC, until {row['until']:%F %T} UTC: "
        f"{row['rejected']} of the last {row['messages']} messages were rejected"
    )


@brake.command(
    examples={
        "orderflow brake release": "go on at once",
        "BRAKE_SHARE=1 orderflow engine": "an engine that never pauses",
    }
)
def release() -> None:
    """Let all workers go on at once, on all machines.

    A worker counts anew: the brake engages again when its next BRAKE_WINDOW messages are no better.
    """
    settings = load_settings()
    count = asyncio.run(with_postgres(settings, lambda c: release_brakes(c, *_consumer(settings))))
    click.echo(f"Released: {count} worker{'' if count == 1 else 's'}" if count else "No worker pauses")


def _consumer(settings: Settings) -> tuple[str, str]:
    return settings.kafka_group_id, settings.kafka_topic
