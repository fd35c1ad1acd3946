"""How many lookups a second are answered, cached and cold, beside a plain handler."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic

import attrs

from bench import targets
from bench.load import ask_for, ask_once, generator
from bench.measurements import Figure
from bench.plain_handler import LISTENING
from bench.programs import Program, helper, orderflow, program
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
    """Store the orders, then hold rounds of both servers with each number of processes."""
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(run.testbed.stores(run.testbed.orderflow))
        topics = await stack.enter_async_context(own_topics(run.testbed.environment))
        environment = {**stores, **topics}
        async with connection(environment) as database:
            await store_orders(database, run.plan.lookup_orders)
            uids = [row["order_uid"] for row in await database.fetch("SELECT order_uid FROM orders ORDER BY random()")]
            await settle(database)
        lookups = _Lookups(run, environment, uids)
        contestants = [
            Contestant(f"lookups, {server}, processes: {processes}", partial(lookups.measure, server, processes))
            for processes in run.plan.processes
            for server in SERVERS
        ]
        run.note(f"cached lookups were asked for by {generator()}, cold ones by the own client")
        await run.hold_rounds(contestants, run.plan.rounds)


@attrs.frozen
class _Lookups:
    run: Run
    environment: dict[str, str]
    uids: Sequence[str]

    async def measure(self, server: str, processes: int) -> Mapping[Figure, float]:
        """Start a server with an empty cache, ask for each order once, fill the cache, and ask for them again."""
        (port,) = free_ports(1)
        environment = {**self.environment, "HTTP_ADDR": f"127.0.0.1:{port}"}
        command = (
            orderflow("serve", "--processes", str(processes))
            if server == "orderflow"
            else helper("plain_handler", str(processes))
        )
        testbed = self.run.testbed
        async with redis_of(self.environment) as redis:
            await redis.flushdb()
            async with program(f"{server} server", command, environment, testbed.folder) as listener:
                await _listening(listener, processes)
                cold = await ask_once(testbed, port, self.uids)
                await self.fill_cache()
                await ask_once(testbed, port, self.uids[:_CHECKED])  # every answer is checked; and a warm-up
                cached = await ask_for(testbed, port, self.uids, self.run.plan.lookup_s)
                await listener.stop()
        figures: dict[Figure, float] = {}
        for kind, load in (("cold", cold), ("cached", cached)):
            per_s, p99 = targets.lookups(server, kind, processes)
            figures |= {per_s: load.per_s, p99: load.p99_ms}
        return figures

    async def fill_cache(self) -> None:
        """Put every order's body into Redis."""
        async with redis_of(self.environment) as redis, connection(self.environment) as database:
            for start in range(0, len(self.uids), PAGE):
                bodies = await fetch_bodies(database, self.uids[start : start + PAGE])
                await redis.mset({f"order:{uid}": body for uid, body in bodies.items()})


async def _listening(server: Program, processes: int) -> None:
    """Wait until every process listens. Raises `ProgramFailed` when that takes too long."""
    deadline = monotonic() + _LISTEN_TIMEOUT_S
    while server.log.read_text(errors="replace").count(LISTENING) < processes:
        server.check()
        if monotonic() > deadline:
            raise server.failure("does not listen")
        await asyncio.sleep(0.1)
