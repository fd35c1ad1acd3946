"""`orderflow engine`: the supervisor and its worker processes."""

import asyncio
import signal
import sys

import attrs
import click

from engine.processes.restart import RestartPolicy
from engine.processes.run import supervise
from engine.processes.supervisor import ChildSpec
from orderflow.help import Command
from orderflow.parameters import WholeNumber
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.env_lines import report_odd_lines
from orderflow.start.logs import configure_logging
from orderflow.start.preflight import ready_before
from orderflow.start.settings import Settings, load_settings
from orderflow.start.tracing import check_tracing


@click.command(
    cls=Command,
    examples={
        "orderflow engine": "JSON lines on stderr",
        "LOG_FORMAT=console orderflow engine --workers 2": "lines for people",
    },
)
@click.option(
    "--workers",
    type=WholeNumber(1, 256),
    metavar="N",
    help="Worker processes. Default: WORKERS, else the smaller of cores and KAFKA_PARTITIONS.",
)
def engine(workers: int | None) -> None:
    """Run the engine: consume orders, write them to PostgreSQL, update Redis.

    Runs in the foreground until SIGTERM or Ctrl-C, then drains and exits 0. Needs the topics (`orderflow topics
    create`) and the current schema (`orderflow migrate`).
    """
    settings = load_settings()
    if workers is not None:
        settings = attrs.evolve(settings, workers=workers)
    check_tracing()
    configure_logging(settings, component="supervisor")
    report_odd_lines()
    sys.exit(asyncio.run(_supervise(settings)))


async def _supervise(settings: Settings) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not await ready_before(stop, settings):
        return 0
    specs = [
        ChildSpec(f"worker-{index}", (sys.executable, "-m", "orderflow", "worker", "--index", str(index)))
        for index in range(settings.effective_workers)
    ]
    policy = RestartPolicy(settings.restart_max, settings.restart_window_s)
    return await supervise(
        specs,
        postgres_options(settings),
        kafka_options(settings),
        group=settings.kafka_group_id,
        topic=settings.kafka_topic,
        policy=policy,
        shutdown_timeout_s=settings.shutdown_timeout_s,
    )
