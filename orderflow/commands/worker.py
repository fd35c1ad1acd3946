"""`orderflow worker`: one worker process. Only the supervisor starts it."""

import sys

import click

from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.kafka.brokers import CLIENT_ID
from engine.postgres.link import Link
from engine.postgres.session import finding_by_key
from engine.processes.worker import Worker, run_worker
from engine.stages.brake import BrakeLimits
from engine.stages.options import WorkerOptions
from handlers.cache import OrderCache
from handlers.cache_writer import CacheWriter
from handlers.catch_up import CatchUp
from handlers.order_handler import OrderHandler
from handlers.warm_up import WarmUp
from orderflow.start.connections import cache_servers, kafka_options, postgres_options
from orderflow.start.logs import configure_logging
from orderflow.start.settings import Settings, load_settings
from orderflow.start.tracing import start_tracing


@click.command(hidden=True)
@click.option("--index", type=click.IntRange(0), required=True)
def worker(index: int) -> None:
    """Run one worker; the supervisor starts these."""
    settings = load_settings()
    name = f"worker-{index}"
    configure_logging(settings, deferred=True, component="worker", worker=name)
    sys.exit(run_worker(lambda: _run(settings, index, name)))


async def _run(settings: Settings, index: int, name: str) -> int:
    options = WorkerOptions(
        identity=Identity(settings.kafka_group_id, settings.kafka_topic, name),
        dlq_topic=settings.kafka_dlq_topic,
        kafka_options=kafka_options(settings),
        postgres_options=postgres_options(settings),
        batch_max_records=settings.batch_max_orders,
        batch_max_bytes=settings.batch_max_bytes,
        batch_history_s=settings.batch_history_s,
        backoff=Backoff(
            settings.kafka_initial_retry_delay_s, settings.kafka_backoff_factor, settings.kafka_max_retry_delay_s
        ),
        shutdown_timeout_s=settings.shutdown_timeout_s,
        brake=BrakeLimits(settings.brake_share, settings.brake_window, settings.brake_pause_s),
        tracing=start_tracing("orderflow-engine", name, CLIENT_ID),
    )
    status = Status(settings.kafka_max_retries)
    session = finding_by_key(options.session_options)
    cache = OrderCache(cache_servers(settings), settings.redis_ttl_s)
    cache_writer = CacheWriter(cache, Link(session), status)
    background_link = Link(session)
    background = [CatchUp(cache, background_link, settings.redis_ttl_s, options.identity).run, cache_writer.wait]
    if index == 0 and settings.cache_warm_orders:
        background.append(WarmUp(cache, background_link, settings.cache_warm_orders).run)

    async def close(deadline_s: float) -> None:
        await cache_writer.stop(deadline_s)

    handler = OrderHandler(cache_writer, settings.kafka_value_format)
    cache_writer.start()
    try:
        return await Worker(options, handler, status, background, close).run()
    finally:
        await background_link.close()
        await cache.aclose()
