"""Measures lookups of one order: cached, cold, and of uids that do not exist, compared with other servers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

import attrs

from bench import targets
from bench.builds import Build
from bench.load import Load, ask_for, ask_once, generator
from bench.lookup_peer import check_answers, lookup_peer
from bench.machine import cores
from bench.measurements import Figure
from bench.memory_peaks import MB, peak_bytes
from bench.peer import peer_redis, redis_database
from bench.programs import Program, helper
from bench.run import Contestant, Run
from bench.servers import empty_cache, listening, lookup_server
from bench.stored_orders import store_orders
from bench.testbed import connection, processor_s, redis_of, settle
from bench.verification import PAGE
from handlers.reader import fetch_bodies
from orderflow.services import free_ports
from tests.support.isolation import own_topics

PARTS = frozenset({"lookups", "lookup-peer"})
_CHECKED = 2000
_COMPARED = 20
_NOT_FOUND = 404
_BUSY = 0.95


async def measure(run: Run) -> None:
    """Store the orders, then run rounds with all servers and each number of processes."""
    async with AsyncExitStack() as stack:
        lookups = _Lookups(run, *await stored_for_lookups(run, stack))
        contestants = []
        for processes in run.plan.processes:
            if processes == 1 or cores() >= targets.CORES_FOR_TWO_PROCESSES:
                contestants.append(Contestant(f"lookups, processes: {processes}", partial(lookups.ours, processes)))
                if not run.compares:
                    contestants.append(
                        Contestant(f"lookups, plain, processes: {processes}", partial(lookups.plain, processes))
                    )
        if "lookup-peer" in run.plan.parts:
            contestants.append(Contestant("lookup peer", lookups.peer))
        run.note(f"cached lookups were asked for by {generator()}, others by the own client")
        await run.run_rounds(contestants, run.plan.rounds)


async def stored_for_lookups(run: Run, stack: AsyncExitStack) -> tuple[dict[Build, dict[str, str]], list[str]]:
    """Store the orders for each build. Returns the environments of the builds, and the uids in random order.

    `stack` removes everything.
    """
    topics = await stack.enter_async_context(own_topics(run.testbed.environment))
    environments, uids = {}, list[str]()
    for build in run.testbed.builds:
        stores = await stack.enter_async_context(run.testbed.stores(build.database))
        environments[build] = {**stores, **topics}
        uids = await _store(run, environments[build])
    return environments, uids


async def _store(run: Run, environment: Mapping[str, str]) -> list[str]:
    """Store the orders, and return their uids in random order."""
    async with connection(environment) as database:
        await store_orders(database, run.plan.lookup_orders)
        uids = [row["order_uid"] for row in await database.fetch("SELECT order_uid FROM orders ORDER BY random()")]
        await settle(database)
    return uids


@attrs.frozen
class _Lookups:
    """Requests `uids` from servers. They are stored in the database of a build's environment."""

    run: Run
    environments: Mapping[Build, dict[str, str]]
    uids: Sequence[str]

    async def ours(self, processes: int, build: Build) -> Mapping[Figure, float]:
        """Measure the HTTP server of a build."""
        environment = self.environments[build]
        async with lookup_server(self.run.testbed, build, environment, processes) as (server, port):
            found = await self.loads(server, port, environment)
            peak = peak_bytes(server.process_tree)
        memory = {targets.MEMORY_HTTP: peak / MB} if processes == 1 else {}
        return {**_figures("orderflow", processes, found), **memory}

    async def plain(self, processes: int, build: Build) -> Mapping[Figure, float]:
        """Measure the plain handler on the stores of a build."""
        command, environment = helper("plain_handler", str(processes)), self.environments[build]
        async with listening(self.run.testbed, "plain server", command, environment, processes) as (server, port):
            found = await self.loads(server, port, environment)
            await server.stop()
        return _figures("plain", processes, found)

    async def peer(self, build: Build) -> Mapping[Figure, float]:
        """Measure another program on the stores of a build, and compare some of its answers with the orders."""
        command = self.run.plan.lookup_peer
        (port,) = free_ports(1)
        async with peer_redis(self.environments[build], redis_database(command)) as environment:
            async with connection(environment) as database:
                bodies = await fetch_bodies(database, self.uids[:_COMPARED])
            await empty_cache(environment)  # so that the first answers are from the database
            async with lookup_peer(self.run.testbed, command, environment, port, bodies) as server:
                found = await self.loads(server, port, environment)
                async with server.serving():
                    await check_answers(port, bodies)
        return _figures("peer", 1, found)

    async def loads(self, server: Program, port: int, environment: Mapping[str, str]) -> dict[str, tuple[Load, float]]:
        """Request each order once without a cache, as many unknown uids, then fill the cache and request them again.

        Returns, for each kind of lookup, the load and the server's CPU time per request in microseconds.
        """
        testbed, found = self.run.testbed, {}
        absent = [f"x{uid[1:]}" for uid in self.uids]
        asked: dict[str, Callable[[], Awaitable[Load]]] = {
            targets.COLD: lambda: ask_once(testbed, port, self.uids),
            targets.ABSENT: lambda: ask_once(testbed, port, absent, status=_NOT_FOUND),
            targets.CACHED: lambda: ask_for(testbed, port, self.uids, self.run.plan.lookup_s),
        }
        await empty_cache(environment)
        async with server.serving():
            for kind, ask in asked.items():
                if kind == targets.CACHED:
                    await fill_cache(environment, self.uids)
                    await ask_once(testbed, port, self.uids[:_CHECKED])  # a warm-up in which each answer is checked
                before_s = processor_s(server.pid)
                load = await ask()
                found[kind] = load, (processor_s(server.pid) - before_s) / max(1, load.requests) * 1e6
                if load.busy > _BUSY:
                    self.run.note(f"our own client was busy all the time with {kind} lookups: it may limit the rates")
        return found


def _figures(server: str, processes: int, found: Mapping[str, tuple[Load, float]]) -> dict[Figure, float]:
    figures: dict[Figure, float] = {}
    for kind, (load, spent_us) in found.items():
        names = targets.lookups(kind, processes, server)
        figures |= {names.rate: load.per_s, names.p50: load.p50_ms, names.p99: load.p99_ms, names.processor: spent_us}
    return figures


async def fill_cache(environment: Mapping[str, str], uids: Sequence[str]) -> None:
    """Put every order's body into Redis."""
    async with redis_of(environment) as redis, connection(environment) as database:
        for start in range(0, len(uids), PAGE):
            bodies = await fetch_bodies(database, uids[start : start + PAGE])
            await redis.mset({f"order:{uid}": body for uid, body in bodies.items()})
