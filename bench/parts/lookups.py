"""Measures lookups per second, cached and cold, compared with a plain handler."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic

import attrs

from bench import targets
from bench.builds import Build
from bench.load import ask_for, ask_once, generator
from bench.measurements import Figure
from bench.plain_handler import LISTENING
from bench.programs import Program, helper, program
from bench.run import Contestant, Run
from bench.stored_orders import store_orders
from bench.testbed import connection, redis_of, settle
from bench.verification import PAGE
from handlers.reader import fetch_bodies
from orderflow.services import free_ports
from tests.support.isolation import own_topics

PARTS = frozenset({"lookups"})
SERVERS = ("orderflow", "plain")
_CHECKED = 2000
_LISTEN_TIMEOUT_S = 60.0


async def measure(run: Run) -> None:
    """Store the orders, then run rounds with both servers and each number of processes."""
    async with AsyncExitStack() as stack:
        topics = await stack.enter_async_context(own_topics(run.testbed.environment))
        environments = {}
        for build in run.testbed.builds:
            stores = await stack.enter_async_context(run.testbed.stores(build.database))
            environments[build] = {**stores, **topics}
            uids = await _store(run, environments[build])
        lookups = _Lookups(run, environments, uids)
        contestants = [
            Contestant(f"lookups, {server}, processes: {processes}", partial(lookups.measure, server, processes))
            for processes in run.plan.processes
            for server in (SERVERS[:1] if run.compares else SERVERS)
        ]
        run.note(f"cached lookups were asked for by {generator()}, cold ones by the own client")
        await run.run_rounds(contestants, run.plan.rounds)


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

    async def measure(self, server: str, processes: int, build: Build) -> Mapping[Figure, float]:
        """Start a server with an empty cache, request each order once, fill the cache, and request them again."""
        (port,) = free_ports(1)
        environment = {**self.environments[build], "HTTP_ADDR": f"127.0.0.1:{port}"}
        command, root = build.orderflow("serve", "--processes", str(processes)), build.root
        if server == "plain":
            command, root = helper("plain_handler", str(processes)), self.run.testbed.this.root
        testbed = self.run.testbed
        async with redis_of(environment) as redis:
            await redis.flushdb()
            async with program(f"{server} server", command, environment, testbed.folder, root=root) as listener:
                await _listening(listener, processes)
                cold = await ask_once(testbed, port, self.uids)
                await _fill_cache(environment, self.uids)
                await ask_once(testbed, port, self.uids[:_CHECKED])  # a warm-up in which each answer is checked
                cached = await ask_for(testbed, port, self.uids, self.run.plan.lookup_s)
                await listener.stop()
        figures: dict[Figure, float] = {}
        for kind, load in (("cold", cold), ("cached", cached)):
            per_s, p99 = targets.lookups(server, kind, processes)
            figures |= {per_s: load.per_s, p99: load.p99_ms}
        return figures


async def _fill_cache(environment: Mapping[str, str], uids: Sequence[str]) -> None:
    """Put every order's body into Redis."""
    async with redis_of(environment) as redis, connection(environment) as database:
        for start in range(0, len(uids), PAGE):
            bodies = await fetch_bodies(database, uids[start : start + PAGE])
            await redis.mset({f"order:{uid}": body for uid, body in bodies.items()})


async def _listening(server: Program, processes: int) -> None:
    """Wait until all processes listen. Raises `ProgramFailed` after a timeout."""
    deadline = monotonic() + _LISTEN_TIMEOUT_S
    while server.log.read_text(errors="replace").count(LISTENING) < processes:
        server.check()
        if monotonic() > deadline:
            raise server.failure("does not listen")
        await asyncio.sleep(0.1)
