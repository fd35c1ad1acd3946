"""Transactions for the engine's own records, which do not wait for a synchronous standby.

While `synchronous_standby_names` requires a standby that is away, every COMMIT waits without a limit, and what it wrote
stays invisible. Orders, dead letters and the offsets of consumed messages must wait. A worker's heartbeat must not.

A client that loses patience with such a COMMIT must never ask PostgreSQL to cancel it: that would make the transaction
visible although no standby has it. asyncpg asks for it after `timeout=`. `Link.within_deadline` does not: it closes the
connection. But PostgreSQL keeps the session of a closed connection until the standby returns, so a statement that is
repeated must not wait there each time: the sessions would use up `max_connections`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

LOCAL_COMMIT = "SET LOCAL synchronous_commit = local"
"""The COMMIT of this transaction waits for the server's own disk only. A standby that takes over may not have it."""

LOCALLY = "set_config('synchronous_commit', 'local', true) IS NOT NULL"
"""The same as a condition of a statement that is a transaction of its own: then there is one round trip, not four."""


@asynccontextmanager
async def local_transaction(connection: Any) -> AsyncIterator[None]:
    """Run a transaction that does not wait for a standby. Only for what may be lost when a standby takes over.

    If it is cancelled, the connection is closed: a server that does not answer would not answer the ROLLBACK either.
    """
    transaction = connection.transaction()
    try:
        await transaction.start()
        try:
            await connection.execute(LOCAL_COMMIT)
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        await transaction.commit()
    except asyncio.CancelledError:
        connection.terminate()
        raise
