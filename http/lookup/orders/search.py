"""Searches orders by track number or customer. Lists are read only from PostgreSQL, not from Redis."""

from typing import TYPE_CHECKING

from handlers.summaries import Page, Search, fetch_page
from lookup.serving.options import LookupOptions
from lookup.serving.store_reader import StoreReader

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool


class OrderSearch:
    """Answers searches. Its own pool limits how many run at once, so that many searches do not delay lookups."""

    def __init__(self, pool: "Pool", options: LookupOptions) -> None:
        self._reader = StoreReader(
            "search", pool, deadline_s=options.store_deadline_s, in_all_s=options.lookup_deadline_s
        )
        self._statement_deadline_s = options.store_deadline_s

    async def find(self, search: Search) -> Page:
        """Return a page. Raises `StoresUnavailable`, at the latest at the deadline."""

        async def query(connection: "Connection") -> Page:
            return await fetch_page(connection, search, self._statement_deadline_s)

        return await self._reader.read(query)
