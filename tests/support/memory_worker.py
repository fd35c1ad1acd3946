"""A complete worker with fake Kafka and PostgreSQL, and a handler that copies its messages into a table."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import asyncpg
import attrs
from structlog.testing import capture_logs

from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.handler import Statement
from engine.processes.worker import Worker
from engine.records import Batch, Record, Written
from engine.stages.brake import BrakeLimits
from engine.stages.options import WorkerOptions
from engine.verdict import Rejected
from tests.support.memory_connection import Client, connect
from tests.support.memory_kafka import TOPIC, Member, MemoryBrokers, MemoryGroupMember, MemoryKafka
from tests.support.memory_postgres import MemoryPostgres

GROUP = "group"
GOOD, BAD, POISON = b"good", b"bad", b"poison"
"""Values of records: a valid one, one that the handler rejects, and one that PostgreSQL refuses."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """Let workers connect to the fakes, and hide their log lines."""
    with (
        mock.patch.object(asyncpg, "connect", lambda _dsn, **options: connect(**options)),
        mock.patch("engine.stages.source.Brokers", MemoryBrokers),
        mock.patch("engine.stages.source.GroupMember", MemoryGroupMember),
        capture_logs(),
    ):
        yield


class PlainHandler:
    """Copies its messages into the table `orders`. `followed` are the batches passed to `batch_committed`."""

    subject_name = "subject"

    def __init__(self) -> None:
        self.followed: list[Any] = []

    def handle_message(self, record: Record) -> bytes | Rejected:
        assert record.value is not None
        return Rejected("bad") if record.value == BAD else record.value

    def subject(self, _value: bytes) -> None:
        return None

    def statement(self, batch: Batch[bytes]) -> tuple[Statement, Written] | None:
        """Write every other size of batches in one statement."""
        rows = [(record.partition, record.offset, value) for record, value in batch.accepted()]
        return (Statement("rows AS (SELECT)", (rows,)), Written(inserted=len(rows))) if len(rows) % 2 else None

    async def handle_batch(self, connection: Any, batch: Batch[bytes]) -> Written:
        rows = [(record.partition, record.offset, value) for record, value in batch.accepted()]
        await connection.copy_records_to_table("orders", records=rows)
        return Written(inserted=len(rows))

    async def batch_committed(self, batch: Batch[bytes], written: Written) -> None:
        assert written.inserted == len(batch.accepted()), "`written` matches the accepted messages of the batch"
        self.followed.append(batch.batch_id)


@attrs.define(eq=False)
class Process:
    """A worker process. `asked_to_stop` says that it may end.

    `batches` is how many PostgreSQL has committed for it, `rows` are the ids of those that wrote a row of their own.
    """

    client: Client
    member: Member
    handler: PlainHandler
    worker: Worker[bytes]
    task: "asyncio.Task[int]"
    asked_to_stop: bool = False
    batches: int = 0
    rows: list[Any] = attrs.field(factory=list)

    @property
    def frozen(self) -> bool:
        """Whether the process is frozen."""
        return self.client.frozen

    async def assign(self, partitions: set[int]) -> None:
        """Receive a new assignment from the group, if it has joined."""
        if self.member.joined is not None:
            self.member.joined.assign(partitions)


def start_process(
    loop: asyncio.AbstractEventLoop, kafka: MemoryKafka, postgres: MemoryPostgres, batch_max: int
) -> Process:
    """Start a worker with batches of up to `batch_max` records. It joins the group and waits for an assignment."""
    client = Client()
    member = Member(kafka, client)
    options = WorkerOptions(
        identity=Identity(GROUP, TOPIC, "worker", "host"),
        dlq_topic="dead-letters",
        kafka_options={"member": member},
        postgres_options={"server": postgres, "client": client, "server_settings": {}},
        batch_max_records=batch_max,
        batch_max_bytes=1_000_000,
        backoff=Backoff(1, 3, 20),
        shutdown_timeout_s=30,
        brake=BrakeLimits(1, 1000, 60),
    )
    handler = PlainHandler()
    worker = Worker(options, handler, Status())
    return Process(client, member, handler, worker, loop.create_task(worker.run()))
