"""The engine: writes a Kafka topic into PostgreSQL, exactly once. It does not depend on the kind of message.

The subpackages, from the highest layer to the lowest. Each one imports only from the layers below it:

- `pipeline`: a pipeline as a program, the entry point of an application
- `processes`: the supervisor, its workers, and the heartbeats between them
- `stages`: the stages of a worker: source, processor, writer, brake
- `dead_letters`: storing, publishing and replaying rejected messages
- `postgres`: the connection, the stored offsets, the rows of a batch
- `kafka`: brokers, the consumer group, fetching, producing, lag
- `telemetry`: log lines and spans
- `actors`: mailboxes and actors
- `handler`, `records`, `verdict`: what an application implements, and the data that the stages pass on

An application imports only from this package, not from its modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.handler import Handler, RewriteBatch, Statement
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
    "Statement": "engine.handler",
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
    "Statement",
    "Written",
    "copy_records",
    "run",
]


def __getattr__(name: str) -> object:
    # Imported on first use: a process that needs one name does not load the client libraries of the others.
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
