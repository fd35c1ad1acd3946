"""The options of a worker."""

from typing import TYPE_CHECKING, Any

import attrs

from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.postgres.session import session_of
from engine.stages.brake import BrakeLimits

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

SHUTDOWN_TIMEOUT_S = 30.0
BATCH_HISTORY_S = 7 * 24 * 3600.0
"""How long the rows of batches are kept."""


@attrs.frozen(kw_only=True)
class WorkerOptions:
    """The options of a worker. Times are in seconds, sizes in bytes.

    `kafka_options` are keyword arguments of every aiokafka client, `postgres_options` those of `asyncpg.connect`.
    """

    identity: Identity
    dlq_topic: str
    kafka_options: dict[str, Any]
    postgres_options: dict[str, Any]
    batch_max_records: int = 1000
    batch_max_bytes: int = 8 * 1024 * 1024
    backoff: Backoff = Backoff()
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S
    brake: BrakeLimits = BrakeLimits()
    tracing: "Tracing | None" = None
    batch_history_s: float = BATCH_HISTORY_S

    @property
    def session_options(self) -> dict[str, Any]:
        """Keyword arguments of `asyncpg.connect` for every connection of the worker."""
        return session_of(self.postgres_options, self.identity.worker, self.identity.group)
