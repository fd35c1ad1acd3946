"""The Redis servers of the cache: one server, or the nodes of a Redis Cluster, which is recognised by its answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterCrossSlotError, ResponseError

from handlers.cache_cluster import Cluster, Connect
from handlers.cache_node import PAIRS_A_SCRIPT, Command, Node, Pair
from handlers.cache_scripts import Script

T = TypeVar("T")


class Servers(Protocol):
    """Where the keys of the cache are. Every method raises `redis.RedisError` if a server fails."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys."""

    async def run(
        self, script: Script, shared: Sequence[Any], pairs: Sequence[Pair], only: Collection[str] | None = None
    ) -> int:
        """Run the script with the arguments `shared` for the pairs, and return the sum of its results.

        With `only` it runs on the servers with these identities.
        """

    async def try_out(self, commands_of: Callable[[bytes], list[Command]], keys: Callable[[int], bytes]) -> list[Any]:
        """Send `commands_of(key)` to every server, with one of the `keys` that belongs to it. Return the answers."""

    async def identities(self) -> list[str] | None:
        """Return what `Node.read_identity` returns for each server, in order. None if a server does not say it."""

    async def aclose(self) -> None:
        """Close all connections."""

    @property
    def is_cluster(self) -> bool:
        """Whether they were recognised as a cluster."""


class OneServer:
    """One Redis server."""

    is_cluster = False

    def __init__(self, redis: Redis) -> None:
        self._node = Node(redis)

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Servers`."""
        return await self._node.mget(keys)

    async def run(
        self, script: Script, shared: Sequence[Any], pairs: Sequence[Pair], only: Collection[str] | None = None
    ) -> int:
        """See `Servers`."""
        if only is not None and self._node.identity not in only:
            return 0
        total = 0
        for start in range(0, len(pairs), PAIRS_A_SCRIPT):
            keys, values = zip(*pairs[start : start + PAIRS_A_SCRIPT], strict=True)
            total += int(await self._node.run(script, keys, [*shared, *values]))
        return total

    async def try_out(self, commands_of: Callable[[bytes], list[Command]], keys: Callable[[int], bytes]) -> list[Any]:
        """See `Servers`."""
        return await self._node.send(commands_of(keys(0)))

    async def identities(self) -> list[str] | None:
        """See `Servers`."""
        identity = await self._node.read_identity()
        return None if identity is None else [identity]

    async def aclose(self) -> None:
        """See `Servers`."""
        await self._node.redis.aclose()


class CacheServers:
    """The servers at `addresses`. Several addresses are nodes of one cluster; a single one may be a node, too."""

    def __init__(self, connect: Connect, addresses: Sequence[tuple[str, int]]) -> None:
        self._connect = connect
        self._addresses = addresses
        self._found: Servers | None = self._cluster() if len(addresses) > 1 else None
        self._recognising = asyncio.Lock()

    def _cluster(self) -> Cluster:
        return Cluster(self._connect, self._addresses)

    async def _recognise(self) -> Servers:
        redis = self._connect(*self._addresses[0])
        try:
            is_cluster = bool((await redis.info("cluster")).get("cluster_enabled"))
        except ResponseError:
            is_cluster = False  # INFO is not allowed: a cluster is recognised by its first redirection
        except BaseException:
            await redis.aclose()
            raise
        if not is_cluster:
            return OneServer(redis)
        await redis.aclose()
        return self._cluster()

    async def _do(self, work: Callable[[Servers], Awaitable[T]]) -> T:
        if self._found is None:
            async with self._recognising:
                self._found = self._found or await self._recognise()
        found = self._found
        try:
            return await work(found)
        except (AskError, ClusterCrossSlotError):
            if isinstance(found, Cluster):
                raise
            if self._found is found:
                self._found = self._cluster()
                await found.aclose()
            return await work(self._found)

    @property
    def is_cluster(self) -> bool:
        """See `Servers`."""
        return isinstance(self._found, Cluster)

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Servers`."""
        return await self._do(lambda servers: servers.get(keys))

    async def run(
        self, script: Script, shared: Sequence[Any], pairs: Sequence[Pair], only: Collection[str] | None = None
    ) -> int:
        """See `Servers`."""
        return await self._do(lambda servers: servers.run(script, shared, pairs, only))

    async def try_out(self, commands_of: Callable[[bytes], list[Command]], keys: Callable[[int], bytes]) -> list[Any]:
        """See `Servers`."""
        return await self._do(lambda servers: servers.try_out(commands_of, keys))

    async def identities(self) -> list[str] | None:
        """See `Servers`."""
        return await self._do(lambda servers: servers.identities())

    async def aclose(self) -> None:
        """See `Servers`."""
        if self._found is not None:
            await self._found.aclose()
