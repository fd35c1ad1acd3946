"""`orderflow serve`: the HTTP server, in one process or in several processes that share the address."""

import asyncio
import gc
import signal
import sys

import click
import uvloop
from lookup.application import create_application
from lookup.serving.options import Connections, LookupOptions
from lookup.serving.server import AddressTaken, ListenAddress, run_server
from lookup.serving.static import PageMissing

from engine.actors.status import State
from engine.postgres.session import OURS, finding_by_key
from engine.processes.heartbeat import (
    HEARTBEAT_FD_VARIABLE,
    LIFELINE_FD_VARIABLE,
    Beat,
    HeartbeatSender,
    inherited_fd,
    watch_lifeline,
)
from engine.processes.restart import RestartPolicy
from engine.processes.supervisor import ChildSpec, Supervisor
from engine.telemetry.tracing import FLUSH_S
from orderflow.exits import CannotStart
from orderflow.help import Command
from orderflow.parameters import WholeNumber
from orderflow.start.connections import cache_servers, kafka_options, postgres_options
from orderflow.start.env_lines import report_odd_lines
from orderflow.start.listening import reason_of, try_to_listen
from orderflow.start.logs import configure_logging
from orderflow.start.preflight import ready_before
from orderflow.start.project import shipped_directory
from orderflow.start.settings import Settings, load_settings
from orderflow.start.tracing import check_tracing, start_tracing

_MAX_PROCESSES = 64


@click.command(
    cls=Command,
    examples={
        "orderflow serve": "on 127.0.0.1:8080",
        "HTTP_ADDR=:9000 orderflow serve": "on all interfaces",
        "orderflow serve --processes 2": "on two cores",
    },
)
@click.option(
    "--processes",
    type=WholeNumber(1, _MAX_PROCESSES),
    default=1,
    show_default=True,
    metavar="N",
    help="How many processes share HTTP_ADDR.",
)
@click.option("--share", type=WholeNumber(0), hidden=True, help="The number of this process among several.")
def serve(processes: int, share: int | None) -> None:
    """Serve the page and the orders over HTTP on HTTP_ADDR.

    Runs in the foreground until SIGTERM or Ctrl-C, then finishes the requests in flight and exits 0. It needs
    PostgreSQL with the current schema to start, and PostgreSQL or Redis afterwards.
    """
    settings = load_settings()
    check_tracing()
    name = "http" if share is None else f"http-{share}"
    configure_logging(settings, deferred=True, component="http", worker=name)
    if share is None:
        report_odd_lines()
    if processes > 1:
        sys.exit(asyncio.run(_supervise(settings, processes)))
    gc.freeze()
    uvloop.run(_serve(settings, name, shared=share is not None))


async def _supervise(settings: Settings, processes: int) -> int:
    _check_address(settings)
    if not await ready_before(_stop_signal(settings), settings, kafka=False):
        return 0
    supervisor = Supervisor(
        [
            ChildSpec(f"http-{share}", (sys.executable, "-m", "orderflow", "serve", "--share", str(share)))
            for share in range(processes)
        ],
        RestartPolicy(settings.restart_max, settings.restart_window_s),
        settings.shutdown_timeout_s,
    )
    return await supervisor.run()


def _check_address(settings: Settings) -> None:
    """Raise `CannotStart` if the address is taken, before anything is waited for.

    Processes that share it would not notice another program's.
    """
    address = settings.http_address
    try:
        try_to_listen(address)
    except OSError as error:
        raise _address_refused(settings, reason_of(error)) from None


def _address_refused(settings: Settings, reason: str) -> CannotStart:
    return CannotStart(
        f"cannot listen on HTTP_ADDR ({settings.http_address}), {reason}: "
        "choose another address, or stop the program that uses it"
    )


async def _serve(settings: Settings, name: str, *, shared: bool) -> None:
    if not shared:
        _check_address(settings)
    stop = _stop_signal(settings)
    # The supervisor needs heartbeats while this process still waits for the stores.
    sender = HeartbeatSender(inherited_fd(HEARTBEAT_FD_VARIABLE), lambda: Beat(state=State.RUNNING))
    heartbeat = asyncio.create_task(sender.run(), name="heartbeat")
    try:
        # Kafka is not needed: lookups do not use it, and /healthz reports its state.
        if await ready_before(stop, settings, kafka=False):
            await _answer_requests(settings, name, stop, shared=shared)
    finally:
        heartbeat.cancel()


async def _answer_requests(settings: Settings, name: str, stop: asyncio.Event, *, shared: bool) -> None:
    tracing = start_tracing("orderflow-http", name)
    options = LookupOptions(
        ui_directory=shipped_directory("ui", "ui"),
        cache_ttl_s=settings.redis_ttl_s,
        process=name,
        admin_token=settings.admin_token,
        value_format=settings.kafka_value_format,
        cors_origins=settings.http_cors_origins,
        keepalive_s=settings.http_keepalive_s,
        tracing=tracing,
    )
    connections = Connections(
        postgres=finding_by_key(postgres_options(settings, f"{OURS} {name}")),
        redis=lambda: cache_servers(settings),
        kafka=kafka_options(settings),
        kafka_topic=settings.kafka_topic,
        kafka_group=settings.kafka_group_id,
    )
    listener = ListenAddress(host=settings.http_address.host, port=settings.http_address.port, shared=shared)
    try:
        application = create_application(options, connections)
        await run_server(application, options, listener, stop, shutdown_timeout_s=settings.shutdown_timeout_s)
    except PageMissing as error:
        raise CannotStart(f"the page is missing: {error}") from None
    except AddressTaken as error:
        raise _address_refused(settings, str(error)) from None
    finally:
        if tracing is not None:
            await tracing.close(FLUSH_S)


def _stop_signal(settings: Settings) -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT and the death of the supervisor set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifeline = inherited_fd(LIFELINE_FD_VARIABLE)
    if lifeline is not None:

        def supervisor_is_gone() -> None:
            loop.call_soon_threadsafe(stop.set)

        watch_lifeline(lifeline, supervisor_is_gone, settings.shutdown_timeout_s)
    return stop
