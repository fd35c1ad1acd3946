"""A Redis Cluster: sends each key to the node that has its slot.

redis-py's `RedisCluster` is not used for it: it sends ASKING and the command over different connections, its pipelines
do not look for the new primary after a lost connection, and each command costs it several times as much.

All keys of a node are handled by one call of a script that takes its keys as arguments. Redis refuses that while one of
their slots is being moved. Then each key is a command of its own, in one pipeline, and redirections are followed.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError

from handlers.cache_node import PAIRS_A_SCRIPT, Command, Node, Pair
from handlers.cache_scripts import AS_ARGUMENTS, GET, Script

SLOTS = 16_384
MAX_REDIRECTIONS = 5
Connect = Callable[[str, int], Redis]
"""Makes a client of the server at this host and port. It connects with its first command."""
_Place = tuple[Node, bool]
"""Where a command is sent, and with ASKING or not."""


class NotACluster(ResponseError):
    """A server of the list is not a node of a cluster. `address` is its `host:port`."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is not a node of a cluster")
        self.address = address


class Cluster:
    """The primaries of a cluster, found through any of the nodes at `addresses`. See `handlers.cache_servers.Servers`.

    Which node has which slots is read again after every failure and every key that has moved.
    """

    is_cluster = True

    def __init__(self, connect: Connect, addresses: Sequence[tuple[str, int]]) -> None:
        self._connect = connect
        self._addresses = list(addresses)
        self._nodes: dict[tuple[str, int], Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._stale = True
        self._reading = asyncio.Lock()

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys."""
        values: dict[bytes, bytes | None] = {}

        async def get_part(node: Node, part: Sequence[bytes]) -> None:
            script = AS_ARGUMENTS[GET.sha]
            answers = await self._at_once(node, script, part, [], lambda key: ("GETRANGE", key, 0, -1))
            values.update(zip(part, answers, strict=True))

        groups = await self._by_node(keys, lambda key: key)
        await _all(get_part(node, part) for node, group in groups.items() for part in _parts(group))
        return [values[key] or None for key in keys]

    async def run(
        self, script: Script, shared: Sequence[Any], pairs: Sequence[Pair], only: Collection[str] | None = None
    ) -> int:
        """Run the script for all pairs. Every node is tried, also when another one fails."""
        bulk, sums = AS_ARGUMENTS[script.sha], []

        async def run_part(node: Node, part: Sequence[Pair]) -> None:
            values = dict(part)
            answer = await self._at_once(
                node,
                bulk,
                [key for key, _ in part],
                [*shared, *(value for _, value in part)],
                lambda key: ("EVALSHA", script.sha, 1, key, *shared, values[key]),
            )
            sums.append(sum(map(int, answer)) if isinstance(answer, list) else int(answer))

        groups = await self._by_node(pairs, lambda pair: pair[0])
        chosen = {node: group for node, group in groups.items() if only is None or node.identity in only}
        await _all(run_part(node, part) for node, group in chosen.items() for part in _parts(group))
        return sum(sums)

    async def try_out(self, commands_of: Callable[[bytes], list[Command]], keys: Callable[[int], bytes]) -> list[Any]:
        """Send `commands_of(key)` to every node, with the first of the `keys` that it has."""
        await self._know_owners()
        missing, chosen = {node for node in self._owners if node is not None}, []
        for number in count():
            if not missing:
                break
            owner = self._owners[key_slot(keys(number))]
            if owner in missing:
                missing.discard(owner)
                chosen.append(keys(number))
        commands = [(key, command) for key in chosen for command in commands_of(key)]
        return await self._each(commands)

    async def identities(self) -> list[str] | None:
        """Return the identity of every primary, in order."""
        await self._know_owners()
        nodes = list({node for node in self._owners if node is not None})
        found = await _all(self._guard(node, node.read_identity()) for node in nodes)
        return None if None in found else sorted(found)

    async def aclose(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.redis.aclose()

    async def _at_once(
        self,
        node: Node,
        bulk: Script,
        keys: Sequence[bytes],
        arguments: Sequence[Any],
        command_of: Callable[[bytes], Command],
    ) -> Any:
        """Run the script once for all keys of the node. If it refuses, return the list of the answers for each key."""
        try:
            return await self._guard(node, node.run(bulk, keys[:1], [len(keys), *keys, *arguments]))
        except ClusterDownError:
            raise
        except ResponseError:
            answers = await self._each([(key, command_of(key)) for key in keys])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer from None
            return answers

    async def _each(self, commands: Sequence[tuple[bytes, Command]]) -> list[Any]:
        """Send each command to the node of its key, follow redirections, and return the answers and the refusals."""
        await self._know_owners()
        answers: list[Any] = [None] * len(commands)
        places: Mapping[int, _Place] = {
            number: (self._owner(key_slot(key)), False) for number, (key, _) in enumerate(commands)
        }
        for _ in range(MAX_REDIRECTIONS):
            redirected: dict[int, _Place] = {}
            groups: dict[_Place, list[int]] = defaultdict(list)
            for number, place in places.items():
                groups[place].append(number)
            found = await _all(
                self._guard(node, node.send([commands[number][1] for number in numbers], asking=asking))
                for (node, asking), numbers in groups.items()
            )
            for ((node, _), numbers), group in zip(groups.items(), found, strict=True):
                for number, answer in zip(numbers, group, strict=True):
                    answers[number] = answer
                    if isinstance(answer, AskError):
                        moved = isinstance(answer, MovedError)
                        self._stale = self._stale or moved
                        redirected[number] = (self._node(answer.host or node.host, answer.port), not moved)
            if not redirected:
                break
            places = redirected
        return answers

    async def _by_node(self, items: Sequence[Any], key_of: Callable[[Any], bytes]) -> dict[Node, list[Any]]:
        await self._know_owners()
        groups: dict[Node, list[Any]] = defaultdict(list)
        for item in items:
            groups[self._owner(key_slot(key_of(item)))].append(item)
        return groups

    def _owner(self, slot: int) -> Node:
        owner = self._owners[slot]
        if owner is None:
            self._stale = True
            raise ClusterDownError(f"no node of the cluster has the slot {slot}")
        return owner

    def _node(self, host: str, port: int) -> Node:
        if (host, port) not in self._nodes:
            self._nodes[host, port] = Node(self._connect(host, port), host, port)
        return self._nodes[host, port]

    async def _guard(self, node: Node, call: Any) -> Any:
        """Await a call of the node. After a failure, the next call looks for the nodes again, at this one last."""
        try:
            return await call
        except BaseException as error:
            # A caller's deadline is often shorter than the time-out of a node that is silent: it cancels this.
            if not isinstance(error, ResponseError) or isinstance(error, (MovedError, ClusterDownError)):
                self._stale = True
                node.failed_at = asyncio.get_running_loop().time()
            raise

    async def _know_owners(self) -> None:
        if not self._stale:
            return
        async with self._reading:
            if self._stale:
                await self._read_owners()

    async def _read_owners(self) -> None:
        known = [*self._nodes, *(address for address in self._addresses if address not in self._nodes)]
        problem: Exception | None = None
        for node in sorted((self._node(*address) for address in known), key=lambda node: node.failed_at):
            try:
                rows = await self._guard(node, node.redis.cluster("SLOTS"))
            except ClusterDownError as error:
                problem = error
            except ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise NotACluster(f"{node.host}:{node.port}") from None
                problem = error
            except (RedisError, OSError, TimeoutError) as error:
                problem = error
            else:
                await self._take(node, rows)
                return
        assert problem is not None
        raise problem

    async def _take(self, source: Node, rows: Sequence[Any]) -> None:
        owners: list[Node | None] = [None] * SLOTS
        for start, end, (host, port, *_), *_replicas in rows:
            name = host.decode() if isinstance(host, bytes) else host or ""
            # A node that knows no address for itself, or for another node, means the one that it was asked at.
            owner = self._node(source.host if name in {"", "?"} else name, port)
            owners[start : end + 1] = [owner] * (end + 1 - start)
        self._owners, self._stale = owners, False
        kept = {*owners, *(self._nodes.get(address) for address in self._addresses)}
        gone = [address for address, node in self._nodes.items() if node not in kept]
        for address in gone:
            await self._nodes.pop(address).redis.aclose()


async def _all(calls: Iterable[Any]) -> list[Any]:
    """Wait for all calls, then return their results or raise the first error. None is left running."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[start : start + PAIRS_A_SCRIPT] for start in range(0, len(items), PAIRS_A_SCRIPT)]
