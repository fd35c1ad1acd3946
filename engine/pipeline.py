"""A pipeline as a separate program: one topic, one handler, and a supervisor with its workers.

`python -m some.module` is the supervisor; it starts `python -m some.module worker-0` and so on.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import attrs

from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.handler import Handler
from engine.kafka.brokers import CLIENT_ID
from engine.processes.restart import CANNOT_START
from engine.processes.run import supervise
from engine.processes.supervisor import ChildSpec
from engine.processes.worker import Worker, run_worker
from engine.stages.brake import BrakeLimits
from engine.stages.options import BATCH_HISTORY_S, WorkerOptions
from engine.telemetry.logs import configure_logging
from engine.telemetry.tracing import TracingRefused, check_tracing, start_tracing

T = TypeVar("T")
WRONG_USAGE = 2


@attrs.frozen(kw_only=True)
class Pipeline(Generic[T]):
    """A topic, the consumer group that reads it, the dead-letter topic, and the handler of the messages.

    `kafka_options` are keyword arguments of every aiokafka client, `postgres_options` those of `asyncpg.connect`.
    """

    topic: str
    group: str
    dlq_topic: str
    handler: Handler[T]
    kafka_options: dict[str, Any]
    postgres_options: dict[str, Any]
    workers: int = 2
    backoff: Backoff = Backoff()
    brake: BrakeLimits = BrakeLimits()
    batch_history_s: float = BATCH_HISTORY_S


def run(pipeline: Pipeline[Any], module: str, arguments: Sequence[str]) -> int:
    """Run the supervisor, or the worker named in `arguments` (the command line's arguments). Returns the exit code.

    Both run in the foreground. On SIGTERM or Ctrl-C they drain and return 0. Other exit codes: 1 after a failure, 2
    for wrong arguments, 3 when a restart will not help.
    """
    try:
        return _run(pipeline, module, list(arguments))
    except TracingRefused as error:
        print(f"{module}: {error}", file=sys.stderr)
        return CANNOT_START


def _run(pipeline: Pipeline[Any], module: str, arguments: list[str]) -> int:
    names = [f"worker-{index}" for index in range(pipeline.workers)]
    match arguments:
        case []:
            check_tracing()
            configure_logging(component="supervisor")
            specs = [ChildSpec(name, (sys.executable, "-m", module, name)) for name in names]
            return asyncio.run(
                supervise(
                    specs,
                    pipeline.postgres_options,
                    pipeline.kafka_options,
                    group=pipeline.group,
                    topic=pipeline.topic,
                )
            )
        case [name] if name in names:
            configure_logging(component="worker", worker=name)
            return run_worker(lambda: _work(pipeline, name))
        case _:
            print(f"{module} takes no arguments", file=sys.stderr)
            return WRONG_USAGE


async def _work(pipeline: Pipeline[Any], name: str) -> int:
    options = WorkerOptions(
        identity=Identity(pipeline.group, pipeline.topic, name),
        dlq_topic=pipeline.dlq_topic,
        kafka_options=pipeline.kafka_options,
        postgres_options=pipeline.postgres_options,
        backoff=pipeline.backoff,
        brake=pipeline.brake,
        batch_history_s=pipeline.batch_history_s,
        tracing=start_tracing(pipeline.group, name, client_id=pipeline.kafka_options.get("client_id", CLIENT_ID)),
    )
    return await Worker(options, pipeline.handler).run()
