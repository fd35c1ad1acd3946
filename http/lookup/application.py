"""Puts the application together: stores, lookups, health, routes and the page."""

from collections.abc import AsyncIterator

import asyncpg
from aiohttp import web

from engine.postgres import with_server_settings
from handlers.cache import OrderCache
from lookup.admission import admit
from lookup.checks import BrokerCheck, CacheCheck, DeadLetterCheck, EngineCheck, StoreCheck
from lookup.description import add_description
from lookup.guarded_cache import GuardedCache
from lookup.health import Health
from lookup.middleware import add_headers, answer_errors
from lookup.options import Connections, LookupOptions
from lookup.order_lookup import OrderLookup
from lookup.order_search import OrderSearch
from lookup.order_store import OrderStore
from lookup.order_story import OrderStories
from lookup.routes import HEALTH, LOOKUP, SEARCH, STORIES, add_routes
from lookup.static import add_page_routes, read_page


def create_application(options: LookupOptions, connections: Connections) -> web.Application:
    """Return the application. Connections are opened when it starts. Raises `PageMissing`."""
    middlewares = [answer_errors, admit(options.max_requests)]
    application = web.Application(middlewares=middlewares, client_max_size=options.max_body_bytes)
    application.on_response_prepare.append(add_headers)
    page_files = read_page(options.ui_directory)
    add_page_routes(application, page_files)
    add_description(application, page_files)
    add_routes(application)

    async def open_stores(application: web.Application) -> AsyncIterator[None]:
        async with _Stores(options, connections) as stores:
            application[LOOKUP] = stores.lookup
            application[SEARCH] = stores.search
            application[STORIES] = stores.stories
            application[HEALTH] = stores.health
            yield

    application.cleanup_ctx.append(open_stores)
    return application


class _Stores:
    """What lives as long as the application does. It opens nothing by force: a store that is down may come back."""

    def __init__(self, options: LookupOptions, connections: Connections) -> None:
        self._options = options
        self._connections = connections

    async def __aenter__(self) -> "_Stores":
        options, connections = self._options, self._connections
        self._redis = connections.redis()
        # The server does not notice that a reader has given up while its query waits for a lock: it needs a bound, too.
        bounded = with_server_settings(connections.postgres, statement_timeout=f"{options.store_deadline_s * 1000:.0f}")
        # Without a minimum the pool connects with its first query, not here.
        self._pool = await asyncpg.create_pool(**bounded, min_size=0, max_size=options.store_connections)
        self._search_pool = await asyncpg.create_pool(
            **bounded,
            min_size=0,
            max_size=options.search_connections,
            # A kept statement may keep a plan from when the table was small: one that reads all of it.
            statement_cache_size=0,
        )
        self._cache = GuardedCache(
            self._redis,
            OrderCache(self._redis, options.cache_ttl_s),
            deadline_s=options.cache_deadline_s,
            probe_pause_s=options.cache_probe_pause_s,
        )
        self._broker = BrokerCheck(connections.kafka, connections.kafka_topic, options.health_deadline_s)
        self.health = Health(
            {
                "postgresql": StoreCheck(self._pool, options.health_deadline_s),
                "redis": CacheCheck(self._redis),
                "kafka": self._broker,
                "engine": EngineCheck(self._pool, options.health_deadline_s, options.heartbeat_max_age_s),
                "dead_letters": DeadLetterCheck(
                    self._pool,
                    options.health_deadline_s,
                    connections.kafka_topic,
                    connections.kafka_group,
                    options.dead_letter_max_wait_s,
                ),
            },
            deadline_s=options.health_deadline_s,
        )
        store = OrderStore(self._pool, deadline_s=options.store_deadline_s)
        self.lookup = OrderLookup(self._cache, store, options)
        self.lookup.start()
        self.search = OrderSearch(self._search_pool, options)
        self.stories = OrderStories(self._search_pool, options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.health.stop()
        await self.lookup.stop(self._options.lookup_deadline_s)
        await self._cache.stop()
        await self._broker.close()
        await self._redis.aclose()
        # A polite close waits for the server to answer; every query has ended by now.
        self._pool.terminate()
        self._search_pool.terminate()
