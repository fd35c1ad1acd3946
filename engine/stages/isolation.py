"""Finds the messages that PostgreSQL refuses, by halves, in one transaction that the caller rolls back.

Each part of a batch is tried after a savepoint. What is accepted stays in the transaction, so that of two messages that
exclude each other only the later one is refused. A savepoint is used again after a rollback to it: asyncpg's nested
transactions would leave one behind each time, inside the one before it.
"""

import asyncio
from typing import Generic, TypeVar

import attrs
from asyncpg import Connection

from engine.dead_letters.reduced import reduce
from engine.dead_letters.replays import store_verdicts
from engine.handler import Handler, RewriteBatch
from engine.postgres.errors import SetupNeeded, describe_refusal, refuses_data
from engine.records import Batch, Entry
from engine.verdict import REFUSED_BY_DATABASE, FieldError, Rejected

T = TypeVar("T")

REWRITES = 10
"""How often `handle_batch` may ask in a row to be called again for the same messages."""
STREAK = 8
"""After so many refused messages in a row the next ones are tried one by one: probably all are refused."""
_DEFERRED = """
SELECT string_agg(DISTINCT format('%I.%I', pg_namespace.nspname, conname), ', ') AS names
FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace JOIN pg_class ON pg_class.oid = conrelid
WHERE condeferred AND relpersistence <> 't' AND has_schema_privilege(pg_namespace.oid, 'USAGE')
"""


def describe_rewrite(error: RewriteBatch) -> str:
    """Describe what stopped the handler: the error from which, or while handling which, `RewriteBatch` was raised."""
    return describe_refusal(error.__cause__ or error.__context__ or error)


class Isolation(Generic[T]):
    """One search in the open transaction of `connection`, for the messages of `batch`."""

    def __init__(self, connection: Connection, handler: Handler[T], group: str, batch: Batch[T]) -> None:
        self._connection = connection
        self._handler = handler
        self._group = group
        self._batch = batch
        self._deferred: str | None = None
        self.tries = 0

    async def run(self, search_s: float) -> list[Entry[T]]:
        """Return the entries with their verdicts, in order. After `search_s` seconds: those judged so far.

        A message that is refused is rejected; a rejection whose dead letter is refused is reduced. Raises `SetupNeeded`
        if not even the smallest dead letter is accepted, and errors that are not about data.
        """
        until_s = _now_s() + search_s
        [row] = await self._connection.fetch(_DEFERRED)
        self._deferred = row["names"]
        await self._connection.execute("SAVEPOINT part")
        judged: list[Entry[T]] = []
        streak = 0
        parts = _halves(self._batch.entries)
        while parts and not (judged and _now_s() > until_s):
            part = parts.pop()
            if streak >= STREAK and len(part) > 1:
                parts += [part[1:], part[:1]]
                continue
            refusal = await self._try(part)
            if refusal is None:
                judged += part
                streak = 0
            elif len(part) == 1:
                judged.append(self._refused(part[0], refusal))
                streak += 1
            else:
                parts += _halves(part)
        return judged

    async def _try(self, part: list[Entry[T]]) -> str | None:
        """Return why a part is refused, or None if it is accepted. Then it stays in the transaction."""
        refusal = None
        for _ in range(REWRITES):
            self.tries += 1
            try:
                await self._write(part)
            except RewriteBatch as error:
                refusal = describe_rewrite(error)
                await self._connection.execute("ROLLBACK TO SAVEPOINT part")
            except Exception as error:
                if not refuses_data(error):
                    raise
                await self._connection.execute("ROLLBACK TO SAVEPOINT part")
                return describe_refusal(error)
            else:
                await self._connection.execute("RELEASE SAVEPOINT part; SAVEPOINT part")
                return None
        return refusal

    async def _write(self, part: list[Entry[T]]) -> None:
        batch = attrs.evolve(self._batch, entries=part)
        # A check that is deferred until the COMMIT is made at the end of each part instead, and deferred again after.
        if self._deferred:
            await self._connection.execute(f"SET CONSTRAINTS {self._deferred} DEFERRED")
        await self._handler.handle_batch(self._connection, batch)
        await store_verdicts(self._connection, self._group, batch, self._handler.subject)
        if self._deferred:
            await self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _refused(self, entry: Entry[T], refusal: str) -> Entry[T]:
        value = entry.value
        if not isinstance(value, Rejected):
            subject = self._handler.subject(value)
            return Entry(entry.record, Rejected(REFUSED_BY_DATABASE, (FieldError("", refusal),), subject))
        smaller = reduce(value, refusal)
        if smaller is None:
            raise SetupNeeded(f"no dead letter can be stored: {refusal}")
        return Entry(entry.record, smaller)


def _halves(entries: list[Entry[T]]) -> list[list[Entry[T]]]:
    """Return the second half, then the first one: the last part is tried next."""
    middle = len(entries) // 2
    return [half for half in (entries[middle:], entries[:middle]) if half]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
