"""Tells the story of an order: how it came to be stored. Redis has no say in it."""

from typing import TYPE_CHECKING

from handlers.story import Story, fetch_story
from lookup.serving.options import LookupOptions
from lookup.serving.store_reader import StoreReader

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool


class OrderStories:
    """Answers questions for a story, on the connections of searches: no crowd of them delays a lookup."""

    def __init__(self, pool: "Pool", options: LookupOptions) -> None:
        self._reader = StoreReader(
            "story", pool, deadline_s=options.store_deadline_s, in_all_s=options.lookup_deadline_s
        )
        self._statement_deadline_s = options.store_deadline_s

    async def find(self, order_uid: str) -> Story | None:
        """Return the story, None when nothing is known of the uid. Raises `StoresUnavailable` within the deadline."""

        async def query(connection: "Connection") -> Story | None:
            return await fetch_story(connection, order_uid, self._statement_deadline_s)

        return await self._reader.read(query)
