"""Reads orders from PostgreSQL for lookups."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handlers.body import Bodies
from handlers.reader import fetch_bodies
from lookup.serving.store_reader import StoreReader

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool


class OrderStore:
    """Reads the bodies of any number of orders from PostgreSQL in one query."""

    def __init__(self, pool: "Pool", *, deadline_s: float) -> None:
        self._reader = StoreReader("lookup", pool, deadline_s=deadline_s)
        self._deadline_s = deadline_s

    async def read_many(self, uids: Sequence[str]) -> Bodies:
        """Return the bodies of the stored orders among `uids`, by uid. Raises `StoresUnavailable`."""

        async def query(connection: "Connection") -> Bodies:
            return await fetch_bodies(connection, uids, self._deadline_s)

        return await self._reader.read(query)
