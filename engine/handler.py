"""The interface between the engine and an application: how to read a message, and how to write a batch."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import attrs
from asyncpg import Connection

from engine.records import Batch, Record, Written
from engine.verdict import Rejected

T = TypeVar("T")


class RewriteBatch(Exception):
    """Raised by `handle_batch`. The engine rolls back and calls it again at once: it can write the batch this time."""


@attrs.frozen
class Statement:
    """A part of an SQL statement: common table expressions, and the values of their parameters `$1`, `$2` and so on.

    The text must be one of few: it is prepared, and no data of a message stands in it.
    """

    tables: str
    arguments: Sequence[Any]


class Handler(Protocol[T]):
    """An application's handler. A class that inherits from it only needs `handle_message` and `handle_batch`."""

    subject_name: str = "subject"
    """The name of a message's subject in the log, for example `order_uid`."""

    def handle_message(self, record: Record) -> T | Rejected:
        """Decode and validate one record. Never raises for bad data: it returns `Rejected`."""

    def subject(self, value: T) -> str | None:  # noqa: ARG002
        """Return the subject of a value, for example its key. It is stored if the value becomes a dead letter."""
        return None

    def statement(self, batch: Batch[T]) -> tuple[Statement, Written] | None:  # noqa: ARG002
        """Return what writes a small batch of accepted records in one statement, or None: then `handle_batch` does.

        The statement is a transaction of its own, so a lone message waits for PostgreSQL once. Its first table has to
        read `fence`, as in `WHERE (SELECT passed FROM fence)`, so that nothing is written before the offsets have
        moved. If PostgreSQL refuses the statement, or the connection is lost, `handle_batch` is called for the batch.
        """
        return None

    async def handle_batch(self, connection: Connection, batch: Batch[T]) -> Written:
        """Write the accepted records of a batch inside the open transaction.

        May be called again with the same batch after a rollback. Raises `RewriteBatch` or errors of asyncpg. The engine
        decides whether such an error is an outage or refused data.
        """

    async def batch_committed(self, batch: Batch[T], written: Written) -> None:  # noqa: ARG002
        """Update caches and logs after a batch was committed. It must not raise and must not wait for long."""
        return
