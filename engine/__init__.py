"""The actor runtime: from a Kafka topic to rows in PostgreSQL, exactly once. It knows of no orders.

From top to bottom, each importing only what stands below it:

- `pipeline`: a pipeline as a program, the entry point of an application
- `processes`: the supervisor, its workers, and what they tell of each other
- `stages`: what a worker does with records: source, processor, writer, brake
- `dead_letters`: rejected messages, kept, published and replayed
- `postgres`: the connection, the offsets in it, the rows of a batch
- `kafka`: brokers, the consumer group, fetching, producing, lag
- `telemetry`: log lines and spans
- `actors`: mailboxes and actors
- `handler`, `records`, `verdict`: what an application gives, and what travels

An application imports from here alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.handler import Handler, RewriteBatch
    from engine.kafka.producer import KafkaProducer
    from engine.pipeline import Pipeline, run
    from engine.postgres.copying import copy_records
    from engine.records import Batch, Record, Written
    from engine.stages.brake import BrakeLimits
    from engine.verdict import FieldError, Rejected

_HOMES = {
    "Batch": "engine.records",
    "BrakeLimits": "engine.stages.brake",
    "FieldError": "engine.verdict",
    "Handler": "engine.handler",
    "KafkaProducer": "engine.kafka.producer",
    "Pipeline": "engine.pipeline",
    "Record": "engine.records",
    "Rejected": "engine.verdict",
    "RewriteBatch": "engine.handler",
    "Written": "engine.records",
    "copy_records": "engine.postgres.copying",
    "run": "engine.pipeline",
}

__all__ = [
    "Batch",
    "BrakeLimits",
    "FieldError",
    "Handler",
    "KafkaProducer",
    "Pipeline",
    "Record",
    "Rejected",
    "RewriteBatch",
    "Written",
    "copy_records",
    "run",
]


def __getattr__(name: str) -> object:
    # Imported when it is asked for: a process that needs one of them does not load the clients of the others.
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
