"""Opens the application's connection pools to PostgreSQL."""

from typing import TYPE_CHECKING, Any

import asyncpg

from engine.postgres.connecting import connect
from engine.postgres.session import with_server_settings
from lookup.serving.options import Connections

if TYPE_CHECKING:
    from lookup.serving.store_reader import Pool


async def open_pool(connections: Connections, size: int, statement_deadline_s: float, **more: Any) -> "Pool":
    """Return a pool of at most `size` connections; it connects at its first query, not here.

    `more` are further arguments of `asyncpg.create_pool`. The server's `statement_timeout` ends a query whose reader
    has given up: the server does not notice that while the query waits for a lock. Queries only read, and leave nothing
    in their session that asyncpg would have to reset afterwards with a statement of its own.
    """
    bounded = with_server_settings(connections.postgres, statement_timeout=f"{statement_deadline_s * 1000:.0f}")
    return await asyncpg.create_pool(connect=connect, reset=_nothing, **bounded, min_size=0, max_size=size, **more)


async def _nothing(_: object) -> None:
    pass
