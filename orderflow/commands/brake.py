"""`orderflow brake`: shows and releases the brake, which pauses consumption after too many rejections."""

import asyncio
from typing import Any

import click

from engine.stages.brake_pause import engaged_brakes, release_brakes
from orderflow.help import Group
from orderflow.start.database import ask_postgres
from orderflow.start.settings import Settings, load_settings
from orderflow.terminal import json_line


@click.group(
    cls=Group,
    examples={
        "orderflow brake status": "which workers pause, until when",
        "orderflow dlq list --since 15m": "what was rejected",
        "orderflow brake release": "once the producer is fixed",
    },
)
def brake() -> None:
    """Show or release the brake.

    A worker pauses when more than BRAKE_SHARE of its last BRAKE_WINDOW messages were rejected: the producer is probably
    broken, and all its messages would become dead letters. The worker tries again after BRAKE_PAUSE_S seconds.
    """


@brake.command(
    examples={
        "orderflow brake status": "a line for each paused worker",
        "orderflow brake status --json": "[] when no worker pauses",
    }
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def status(as_json: bool) -> None:
    """Show the workers that are paused now, on all machines."""
    settings = load_settings()
    rows = asyncio.run(ask_postgres(settings, lambda c: engaged_brakes(c, *_consumer(settings))))
    if as_json:
        click.echo(json_line([{"topic": settings.kafka_topic, **row} for row in rows]))
        return
    for row in rows:
        click.echo(_line(row))
    if rows:
        click.echo("See `orderflow dlq list` for the reasons; `orderflow brake release` ends the pause", err=True)
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
        "orderflow brake release": "end the pause now",
        "BRAKE_SHARE=1 orderflow engine": "an engine that never pauses",
    }
)
def release() -> None:
    """End the pause of all workers now, on all machines.

    A worker starts to count again: the brake engages again if too many of the next BRAKE_WINDOW messages are rejected.
    """
    settings = load_settings()
    count = asyncio.run(ask_postgres(settings, lambda c: release_brakes(c, *_consumer(settings))))
    click.echo(f"Released: {count} worker{'' if count == 1 else 's'}" if count else "No worker pauses")


def _consumer(settings: Settings) -> tuple[str, str]:
    return settings.kafka_group_id, settings.kafka_topic
