"""Redis servers of a test's own, with settings of the test: one server, or the three nodes of a cluster."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import attrs
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from handlers.cache_cluster import SLOTS
from orderflow.services import free_ports
from orderflow.services.valkey import Valkey
from orderflow.start.connections import cache_servers, redis_client
from orderflow.start.settings import Settings, parse_settings
from tests.support.eventually import eventually
from tests.support.hosts import THIS_MACHINE, Host

HOST = "127.0.0.1"
NODES = 3
NODE_TIMEOUT_MS = 1000


class ConfiguredValkey(Valkey):
    """Valkey with additional lines in its configuration, and additional arguments."""

    lines: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the command line with the arguments."""
        return [*self.within, *super().command(), *self.arguments]

    async def prepare(self) -> None:
        """Write the lines after those of the service: of two lines for a setting, Valkey uses the last."""
        await super().prepare()
        configuration = self.directory / "valkey.conf"
        configuration.write_text("\n".join([configuration.read_text(), *self.lines, ""]))


@attrs.frozen(eq=False)
class RedisServer:
    """A server. `service` starts, stops, kills and freezes it."""

    service: ConfiguredValkey
    settings: Settings
    client: Redis

    @property
    def address(self) -> str:
        """Its host:port."""
        return self.service.address

    async def ask(self, *command: str | int) -> str:
        """Send a command that redis-py has no method for, and return the answer as text."""
        answer = await self.client.execute_command(*command)  # type: ignore[no-untyped-call]
        return answer.decode() if isinstance(answer, bytes) else str(answer)


@asynccontextmanager
async def own_redis(
    directory: Path,
    *lines: str,
    port: int | None = None,
    running: bool = True,
    arguments: tuple[str, ...] = (),
    on: Host = THIS_MACHINE,
) -> AsyncIterator[RedisServer]:
    """Start a server on a free port and stop it afterwards. `lines` are of its configuration, `arguments` come last."""
    settings = parse_settings({"REDIS_ADDR": f"{on.address}:{port or free_ports(1)[0]}"})
    service = ConfiguredValkey(directory / "valkey", settings)
    service.lines, service.arguments = lines, arguments
    service.host, service.within = on.address, on.within
    async with redis_client(settings) as client:
        try:
            if running:
                await service.start()
            yield RedisServer(service, settings, client)
        finally:
            await service.kill()


async def role_of(node: RedisServer) -> str:
    """Return `master` or `slave`, and `away` when the node does not answer."""
    try:
        return str((await node.client.info("replication"))["role"])
    except RedisError:  # its old connections are closed
        return "away"


class CachedValues:
    """Reads keys of the cache, from one server or from a cluster."""

    def __init__(self, settings: Settings) -> None:
        self.servers = cache_servers(settings)

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys."""
        return await self.servers.get([key.encode() for key in keys])


@asynccontextmanager
async def cached_values(settings: Settings) -> AsyncIterator[CachedValues]:
    """Provide the keys of the cache, and close the connections afterwards."""
    values = CachedValues(settings)
    yield values
    await values.servers.aclose()


@attrs.frozen
class RedisCluster:
    """The nodes, each a primary with a third of the slots; and the replicas, if there are any, of the last one."""

    nodes: tuple[RedisServer, ...]
    replicas: tuple[RedisServer, ...]

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that name one node only."""
        return {"REDIS_ADDR": self.nodes[0].address, "REDIS_DB": "0"}

    def owner(self, key: bytes) -> RedisServer:
        """Return the node that the key belonged to at first."""
        return self.nodes[key_slot(key) * NODES // SLOTS]

    async def formed(self) -> None:
        """Wait until every node says that all is well."""
        await eventually(self._state, lambda states: all("cluster_state:ok" in state for state in states))

    async def _state(self) -> list[str]:
        try:
            return [await node.ask("CLUSTER", "INFO") for node in self.nodes]
        except RedisError as error:  # a node was started again: its old connections are closed
            return [str(error)]


@asynccontextmanager
async def redis_cluster(
    directory: Path, replicas: int = 0, hosts: Sequence[Host] | None = None
) -> AsyncIterator[RedisCluster]:
    """Start three nodes, which takes about 2.5 s: they wait for 2 s before they accept writes.

    The last one has so many `replicas`. All run on this machine, or each on its host.
    """
    ports = free_ports(2 * (NODES + replicas))
    hosts = hosts or (THIS_MACHINE,) * (NODES + replicas)
    async with AsyncExitStack() as stack:
        starts = [
            stack.enter_async_context(
                own_redis(
                    directory / f"node-{port}",
                    "cluster-enabled yes",
                    f"cluster-port {bus_port}",
                    f"cluster-node-timeout {NODE_TIMEOUT_MS}",
                    "protected-mode no",  # the nodes have no password, and are asked from other hosts
                    port=port,
                    on=host,
                )
            )
            for port, bus_port, host in zip(ports[::2], ports[1::2], hosts, strict=True)
        ]
        servers = tuple([await start for start in starts])
        cluster = RedisCluster(servers[:NODES], servers[NODES:])
        bounds = [(SLOTS * number + NODES - 1) // NODES for number in range(NODES + 1)]
        for number, (node, (first, end)) in enumerate(zip(cluster.nodes, pairwise(bounds), strict=True)):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus_port in zip(servers[1:], ports[3::2], strict=True):
            await cluster.nodes[0].ask("CLUSTER", "MEET", node.service.host, node.service.port, bus_port)
        await cluster.formed()
        for replica in cluster.replicas:
            await _replicate(replica, cluster.nodes[-1], known=len(servers))
        yield cluster


async def _replicate(replica: RedisServer, primary: RedisServer, known: int) -> None:
    await eventually(lambda: replica.ask("CLUSTER", "INFO"), lambda found: f"cluster_known_nodes:{known}" in found)
    await replica.ask("CLUSTER", "REPLICATE", await primary.ask("CLUSTER", "MYID"))
    await eventually(lambda: replica.client.info("replication"), lambda of: of.get("master_link_status") == "up")
