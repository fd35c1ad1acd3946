"""`orderflow services`: PostgreSQL, Valkey and Kafka of this machine, without Docker."""

import asyncio

import attrs
import click
import msgspec

from orderflow.demo.lost import end_lost_demos
from orderflow.help import Group
from orderflow.progress import say
from orderflow.services import Service, ServiceSet
from orderflow.start.project import services_directory
from orderflow.start.settings import load_settings


def _service_set() -> ServiceSet:
    return ServiceSet(services_directory(), load_settings(), say=say)


@click.group(
    cls=Group,
    examples={
        "orderflow services up": "the first time downloads Kafka, 53 MB",
        "orderflow services status": "where they listen",
        "orderflow services down": "stop them; the data stays in .services/",
    },
)
def services() -> None:
    """Start, stop and show the embedded PostgreSQL, Valkey and Apache Kafka."""


@services.command(
    examples={
        "orderflow services up": "on the ports of the settings",
        "POSTGRES_PORT=5433 orderflow services up": "on another port",
    }
)
def up() -> None:
    """Start what does not run yet, and wait until each service answers."""
    one = _service_set()
    started = asyncio.run(one.up())
    for service in one.services:
        say(f"{service.title} {'is up' if service in started else 'was up already'} on {service.address}")


@services.command(
    examples={
        "orderflow services down": "what did not run is no error",
        "orderflow services status": "whether they are stopped",
    }
)
def down() -> None:
    """Stop all embedded services cleanly. Their data stays.

    Engine and HTTP server are ended, too, where a `make demo` that was killed has left them.
    """
    one = _service_set()
    stopped = asyncio.run(_down(one))
    for service in one.services:
        say(f"{service.title} {'is stopped' if service in stopped else 'was not running'}")


async def _down(one: ServiceSet) -> list[Service]:
    await end_lost_demos(one.directory, say)
    return await one.down()


@services.command(
    examples={
        "orderflow services status": "a line a service",
        "orderflow services status --json": "for programs",
    }
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def status(*, as_json: bool) -> None:
    """Show each service's address and process."""
    rows = _service_set().status()
    if as_json:
        click.echo(msgspec.json.encode([attrs.asdict(row) for row in rows]))
        return
    for row in rows:
        click.echo(f"{row.service:<12}{row.address:<24}{f'running (pid {row.pid})' if row.running else 'stopped'}")
