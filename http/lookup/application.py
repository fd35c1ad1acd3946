"""Puts the application together: stores, lookups, health, routes and the page."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
from aiohttp import web

from engine.actors.cancelling import cancel
from engine.kafka.group_members import GroupMembers
from engine.kafka.lag_reader import LagReader
from engine.kafka.topic_offsets import TopicOffsets
from handlers.cache import OrderCache
from lookup.letters.routes import add_dead_letters
from lookup.operations.broadcast import Broadcast
from lookup.operations.broker_check import BrokerCheck
from lookup.operations.checks import CacheCheck, DeadLetterCheck, StoreCheck
from lookup.operations.engine_check import EngineCheck
from lookup.operations.health import ENGINE, KAFKA, POSTGRESQL, Check, Health
from lookup.operations.owners import OwnerMatcher, OwnerReader
from lookup.operations.pause_routes import PAUSING, Pausing, add_pause_routes
from lookup.operations.routes import OPERATIONS, add_operations_routes
from lookup.operations.snapshot import Operations
from lookup.operations.store import OperationsStore
from lookup.orders.direct_lookup import DirectLookups
from lookup.orders.guarded_cache import GuardedCache
from lookup.orders.lookup import OrderLookup
from lookup.orders.search import OrderSearch
from lookup.orders.store import OrderStore
from lookup.orders.story import OrderStories
from lookup.routes import HEALTH, LOOKUP, SEARCH, STORIES, add_routes
from lookup.serving.admin import ADMIN, Admin
from lookup.serving.admission import Admission, admit
from lookup.serving.cors import Cors, answer_preflights
from lookup.serving.description import add_description
from lookup.serving.direct import DIRECT
from lookup.serving.metrics import METRICS, Metrics
from lookup.serving.middleware import add_headers, answer_errors
from lookup.serving.options import Connections, LookupOptions
from lookup.serving.pools import open_pool
from lookup.serving.request_spans import trace_requests
from lookup.serving.static import add_page_routes, read_page

OWNER_CHECK_INTERVAL_S = 5.0
OWNERS_SHARE = 0.5
"""The share of a check's deadline that asking Kafka for the partitions' owners may take."""


def create_application(options: LookupOptions, connections: Connections) -> web.Application:
    """Return the application. Connections are opened when it starts. Raises `PageMissing`."""
    admission = Admission(options.max_requests)
    cors = Cors(options.cors_origins) if options.cors_origins else None
    middlewares = [answer_errors, admit(admission)]
    if cors is not None:
        middlewares.append(answer_preflights(cors))
    if options.tracing is not None:
        middlewares.insert(0, trace_requests(options.tracing))
    application = web.Application(middlewares=middlewares, client_max_size=options.max_body_bytes)
    application[METRICS] = Metrics(options.process)
    application[ADMIN] = Admin(options.admin_token)
    application.on_response_prepare.append(add_headers)
    if cors is not None:
        application.on_response_prepare.append(cors.add_headers)
    page_files = read_page(options.ui_directory)
    add_page_routes(application, page_files)
    add_description(application, page_files)
    add_routes(application)
    add_operations_routes(application)
    add_pause_routes(application)
    add_dead_letters(application, options, connections)

    async def open_stores(application: web.Application) -> AsyncIterator[None]:
        async with _Stores(options, connections) as stores:
            application[LOOKUP] = stores.lookup
            application[SEARCH] = stores.search
            application[STORIES] = stores.stories
            application[HEALTH] = stores.health
            application[OPERATIONS] = stores.operations
            application[PAUSING] = stores.pausing
            if options.direct and options.tracing is None:
                application[DIRECT] = DirectLookups(
                    stores.lookup, admission, application[METRICS], cors, options.lookup_deadline_s
                )
            yield

    application.cleanup_ctx.append(open_stores)
    return application


class _Stores:
    """Connections and readers that live as long as the application. A store that is down does not prevent the start."""

    def __init__(self, options: LookupOptions, connections: Connections) -> None:
        self._options = options
        self._connections = connections

    async def __aenter__(self) -> "_Stores":
        options, connections = self._options, self._connections
        self._order_cache = OrderCache(connections.redis(), options.cache_ttl_s)
        self._pool = await open_pool(connections, options.store_connections, options.store_deadline_s)
        self._search_pool = await open_pool(
            connections,
            options.search_connections,
            options.store_deadline_s,
            # A cached statement may keep a plan that was made while the table was small: a sequential scan.
            statement_cache_size=0,
        )
        self._cache = GuardedCache(
            self._order_cache,
            deadline_s=options.cache_deadline_s,
            probe_pause_s=options.cache_probe_pause_s,
            check_s=options.cache_check_s,
        )
        self._matcher = OwnerMatcher()
        self._owners = self._make_owners(options.health_deadline_s)
        self._broker, self.health = self._make_health(self._pool, self._owners, options.health_deadline_s)
        store = OrderStore(self._pool, deadline_s=options.store_deadline_s)
        self.lookup = OrderLookup(self._cache, store, options)
        self.lookup.start()
        self.search = OrderSearch(self._search_pool, options)
        self.stories = OrderStories(self._search_pool, options)
        await self._open_operations()
        self._owner_checks = asyncio.create_task(self._check_owners_regularly(), name="owners")
        return self

    async def _check_owners_regularly(self) -> None:
        """Run the engine's check at intervals: a foreign member is reported only after it was seen for a while."""
        while True:
            await self.health.examine(ENGINE)
            await asyncio.sleep(OWNER_CHECK_INTERVAL_S)

    def _make_owners(self, deadline_s: float) -> OwnerReader:
        connections = self._connections
        # Kafka may not answer. The engine's check asks it, and must end within its own deadline.
        deadline_s *= OWNERS_SHARE
        return OwnerReader(
            GroupMembers(connections.kafka, connections.kafka_group, connections.kafka_topic, deadline_s), self._matcher
        )

    def _make_health(
        self, pool: "asyncpg.Pool[asyncpg.Record]", owners: OwnerReader, deadline_s: float
    ) -> tuple[BrokerCheck, Health]:
        options, connections = self._options, self._connections
        consumer = (connections.kafka_topic, connections.kafka_group)
        broker = BrokerCheck(connections.kafka, connections.kafka_topic, deadline_s)
        checks: dict[str, Check] = {
            POSTGRESQL: StoreCheck(pool, deadline_s),
            "redis": CacheCheck(self._order_cache),
            KAFKA: broker,
            ENGINE: EngineCheck(pool, deadline_s, *consumer, owners),
            "dead_letters": DeadLetterCheck(pool, deadline_s, *consumer, options.dead_letter_max_wait_s),
        }
        return broker, Health(checks, deadline_s=deadline_s, needs_postgresql=(ENGINE, "dead_letters"))

    async def _open_operations(self) -> None:
        """Prepare the snapshots, with a connection and checks of their own, so that they delay no other request."""
        connections, deadline_s = self._connections, self._options.operations_deadline_s
        self._operations_pool = await open_pool(connections, 1, self._options.store_deadline_s, statement_cache_size=0)
        owners = self._make_owners(deadline_s)
        self._operations_broker, health = self._make_health(self._operations_pool, owners, deadline_s)
        topic, group = connections.kafka_topic, connections.kafka_group
        self.pausing = Pausing(
            self._operations_pool, topic, group, self._operations_broker.partitions, self._options.store_deadline_s
        )
        self._operations = Operations(
            health,
            OperationsStore(self._operations_pool, topic, group, deadline_s),
            LagReader(TopicOffsets(connections.kafka, topic, deadline_s)),
            owners,
        )
        self.operations = Broadcast(
            self._operations.snapshot,
            every_s=self._options.operations_every_s,
            max_listeners=self._options.operations_max_listeners,
        )

    async def __aexit__(self, *_: object) -> None:
        await cancel(self._owner_checks)
        await self.operations.close()
        await self._operations.close()
        await self.health.stop()
        await self.lookup.stop(self._options.lookup_deadline_s)
        await self._cache.stop()
        await self._owners.close()
        await self._broker.close()
        await self._operations_broker.close()
        await self._order_cache.aclose()
        # `close` would wait for the server's answer. Every query has ended by now.
        self._pool.terminate()
        self._search_pool.terminate()
        self._operations_pool.terminate()
