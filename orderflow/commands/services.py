"""`orderflow services`: starts, stops and shows PostgreSQL, Valkey and Kafka on this machine, without Docker."""

import asyncio

import attrs
import click

from orderflow.demo.leftovers import stop_leftover_processes
from orderflow.help import Group
from orderflow.progress import say
from orderflow.services import Service, ServiceSet
from orderflow.start.project import services_directory
from orderflow.start.settings import load_settings
from orderflow.terminal import json_line


def _service_set() -> ServiceSet:
    return ServiceSet(services_directory(), load_settings(), say=say)


@click.group(
    cls=Group,
    examples={
        "orderflow services up": "the first time downloads Kafka, 53 MB",
        "orderflow services status": "where they listen",
        "orderflow services down": "stop; the data stays in .services/",
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
    """Start the stopped services, and wait until each one answers."""
    service_set = _service_set()
    started = asyncio.run(service_set.up())
    for service in service_set.services:
        say(f"{service.title} {'is up' if service in started else 'was up already'} on {service.address}")


@services.command(
    examples={
        "orderflow services down": "a stopped service is no error",
        "orderflow services status": "check that they are stopped",
    }
)
def down() -> None:
    """Stop all embedded services cleanly. Their data stays.

    Also stops an engine and an HTTP server that a killed `make demo` has left running.
    """
    service_set = _service_set()
    stopped = asyncio.run(_down(service_set))
    for service in service_set.services:
        say(f"{service.title} {'is stopped' if service in stopped else 'was not running'}")


async def _down(service_set: ServiceSet) -> list[Service]:
    await stop_leftover_processes(service_set.directory, say)
    return await service_set.down()


@services.command(
    examples={
        "orderflow services status": "one line per service",
        "orderflow services status --json": "for programs",
    }
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def status(*, as_json: bool) -> None:
    """Show each service's address and process."""
    rows = _service_set().status()
    if as_json:
        click.echo(json_line([attrs.asdict(row) for row in rows]))
        return
    for row in rows:
        click.echo(f"{row.service:<12}{row.address:<24}{f'running (pid {row.pid})' if row.running else 'stopped'}")
