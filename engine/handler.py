"""What an application gives the engine: how to read a message, and how to write a batch."""

from typing import Protocol, TypeVar

from asyncpg import Connection

from engine.records import Batch, Record, Written
from engine.verdict import Rejected

T = TypeVar("T")


class RewriteBatch(Exception):
    """Raised by `handle_batch`: roll this attempt back and call it again at once; it knows more now."""


class Handler(Protocol[T]):
    """The application's side of a worker. A handler that inherits from it has to write two methods only."""

    subject_name: str = "subject"
    """What the log calls the subject of a message: `order_uid`, say."""

    def handle_message(self, record: Record) -> T | Rejected:
        """Decode and validate one record. Bad data is a value: this never raises for what a record contains."""

    def subject(self, value: T) -> str | None:  # noqa: ARG002
        """Return what an accepted value is about (a key, say), for the dead letter that PostgreSQL may make of it."""
        return None

    async def handle_batch(self, connection: Connection, batch: Batch[T]) -> Written:
        """Write the accepted records of a batch inside the open transaction.

        May be called again with the same batch after a rollback. Raises `RewriteBatch`, or lets asyncpg's errors pass:
        the engine tells an outage from refused data.
        """

    async def batch_committed(self, batch: Batch[T], written: Written) -> None:  # noqa: ARG002
        """Follow up on a committed batch (cache, logs). It must neither raise nor wait for long."""
        return
