"""The whole system on hosts in miniature: each service, engine and HTTP server on a host of its own.

The test's own process is one more host: the load, the checker and the readers reach all others from there.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import attrs

from orderflow.operating.dbmate import find_dbmate
from orderflow.services.kafka_distribution import class_path
from orderflow.services.service import silent
from orderflow.start.project import cache_directory
from tests.support.brokers.cluster import Cluster, three_brokers
from tests.support.hosts import Host, HostNetwork, host_network
from tests.support.isolation import PARTITIONS, own_database, unique
from tests.support.machines import Machine
from tests.support.postgresql_pair import Pair, postgresql_pair
from tests.support.programs import Programs, Running
from tests.support.redis_servers import RedisCluster, RedisServer, redis_cluster

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
DATABASES = PRIMARY, STANDBY = ("postgresql-1", "postgresql-2")
CACHES = ("cache-1", "cache-2", "cache-3", "cache-4")
ENGINES = ("engine-1", "engine-2")
SERVERS = ("http-1", "http-2")
WORKERS = 2
"""On each engine machine."""


@attrs.frozen
class Miniature:
    """The hosts and the services on them. The last node of the cache has a replica."""

    network: HostNetwork
    brokers: Cluster
    databases: Pair
    cache: RedisCluster

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every program: all addresses of each service."""
        return {
            **self.databases.environment,
            "POSTGRES_HOST": ",".join(self.network[name].address for name in DATABASES),
            "KAFKA_BROKERS": self.brokers.bootstrap,
            "REDIS_ADDR": ",".join(node.address for node in (*self.cache.nodes, *self.cache.replicas)),
            "REDIS_DB": "0",
        }

    def host_of(self, node: RedisServer) -> Host:
        """Return the host of a node of the cache."""
        return self.network.at(node.service.host)

    @contextmanager
    def cut_off(self, host: Host) -> Iterator[None]:
        """Cut a host off while the context is open."""
        self.network.cut(host)
        try:
            yield
        finally:
            self.network.heal(host)

    @asynccontextmanager
    async def own_data(self) -> AsyncIterator[dict[str, str]]:
        """Provide settings with a database and topics of the test's own. In the cache, orders of other tests stay."""
        topic = unique("orders")
        names = {"KAFKA_TOPIC": topic, "KAFKA_DLQ_TOPIC": f"{topic}-dlq", "KAFKA_GROUP_ID": f"{topic}-group"}
        operator = self.brokers.operator
        await operator.create_plain_topic(names["KAFKA_DLQ_TOPIC"], 1)
        await operator.create_plain_topic(topic, PARTITIONS)
        template, maintenance = self.environment["POSTGRES_DATABASE"], {"POSTGRES_DATABASE": "postgres"}
        async with own_database({**self.environment, **maintenance}, template) as database:
            yield {
                **self.environment,
                **names,
                "KAFKA_PARTITIONS": str(PARTITIONS),
                "POSTGRES_DATABASE": database,
                "START_TIMEOUT_S": "20",
            }

    @asynccontextmanager
    async def crew(self, orderflow: Programs) -> AsyncIterator["Crew"]:
        """Start the engines and the HTTP servers on their machines; all stop cleanly at the end."""
        machines = {}
        for name in (*ENGINES, *SERVERS):
            host = self.network[name]
            machines[name] = Machine(name, host.address, orderflow, host.within)
        engines = await asyncio.gather(*(machines[name].start_engine(WORKERS) for name in ENGINES))
        servers = await asyncio.gather(*(machines[name].start_server() for name in SERVERS))
        yield Crew(dict(zip(ENGINES, engines, strict=True)), dict(zip(SERVERS, servers, strict=True)))
        await asyncio.gather(*(machine.close() for machine in machines.values()))


@attrs.frozen
class Crew:
    """The programs of orderflow, by host."""

    engines: Mapping[str, Running]
    servers: Mapping[str, Running]


@asynccontextmanager
async def miniature(directory: Path) -> AsyncIterator[Miniature]:
    """Make the hosts, start the services on them, and remove all of it afterwards."""
    names = (*BROKERS, *DATABASES, *CACHES, *ENGINES, *SERVERS)
    # Nothing can be downloaded from within that network.
    await class_path(cache_directory(), silent)
    await find_dbmate(silent)
    async with AsyncExitStack() as stack:
        network = stack.enter_context(host_network(directory, names))
        brokers = await stack.enter_async_context(
            three_brokers(directory / "kafka", [network[name] for name in BROKERS])
        )
        databases = await stack.enter_async_context(
            postgresql_pair(directory / "postgresql", (network[PRIMARY], network[STANDBY]))
        )
        cache = await stack.enter_async_context(
            redis_cluster(directory / "cache", 1, [network[name] for name in CACHES])
        )
        yield Miniature(network, brokers, databases, cache)
