"""One fault run: load while something breaks, then the checker, and a line for the table."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import attrs

from engine.postgres.connecting import connect
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.chaos.checker import Report, VersionWatch, cache_settled, check, drained, last_offsets
from tests.chaos.ledger import Ledger
from tests.support.redis_servers import cached_values

RECOVERY_TIMEOUT_S = 120.0
LOAD_STEP = 200


@attrs.define
class FaultRun:
    """A test's fault run. What `report` holds at its end goes into the table; `remark` is for what has no column.

    `random` decides about times and victims, so that a run is repeated by its seed.
    """

    settings: Settings
    seed: int
    report: Report | None = None
    recovery_s: float | None = None
    remark: str = ""
    random: Random = attrs.field(init=False)
    _ledger: Ledger | None = attrs.field(init=False, default=None)
    _load: "asyncio.Task[None] | None" = attrs.field(init=False, default=None)
    _recovering: "asyncio.Task[float] | None" = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)

    def ledger(self, **shares: float) -> Ledger:
        """Return a new book for this run's topic. `shares` as for `Ledger`."""
        return Ledger(self.settings, self.seed, **shares)

    async def under_load(
        self,
        break_things: Callable[[], Awaitable[None]],
        *,
        messages: int = 4000,
        per_second: float = 800,
        ledger: Ledger | None = None,
        drain_timeout_s: float = 90,
    ) -> Report:
        """Publish while `break_things` breaks and heals, wait until all is drained, and check everything.

        `messages` are sent, and more while `break_things` lasts: no trouble outlives its load. Recovery is measured
        from `healed`, or else from the end of `break_things`, until all is consumed that had been sent by then.
        """
        ledger = self._ledger = ledger or self.ledger()
        watch = VersionWatch(self.settings)
        watching = asyncio.create_task(watch.run(), name="version-watch")
        trouble = asyncio.ensure_future(break_things())
        load = self._load = asyncio.create_task(_publish(ledger, messages, per_second, trouble), name="load")
        try:
            await trouble
            recovering = self._recovering or self.healed()
            await load
            await drained(self.settings, last_offsets(ledger.sent), drain_timeout_s)
            self.recovery_s = await recovering
            self.report = await self.check(ledger)
        finally:
            for task in filter(None, (load, watching, self._recovering)):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self.report.went_back += watch.went_back
        return self.report

    def healed(self) -> "asyncio.Task[float]":
        """Note that from now on nothing is broken any more. Call it again when more was broken meanwhile."""
        if self._recovering is not None:
            self._recovering.cancel()
        assert self._ledger is not None, "there is no load to recover from"
        self._recovering = asyncio.create_task(self._recovery(last_offsets(self._ledger.sent)), name="recovery")
        return self._recovering

    async def load_goes_on(self, messages: int = 200) -> None:
        """Wait until the broker has acknowledged so many more messages."""
        assert self._ledger is not None, "there is no load"
        wanted = len(self._ledger.sent) + messages
        while len(self._ledger.sent) < wanted:
            assert self._load is not None, "there is no load"
            assert not self._load.done(), "the load has ended before the trouble: it failed"
            await asyncio.sleep(0.02)

    async def progress(self, messages: int = 200, timeout_s: float = 60) -> None:
        """Wait until so many more messages are sent, and all of them consumed: the engine works, broken or not."""
        await self.load_goes_on(messages)
        assert self._ledger is not None
        await drained(self.settings, last_offsets(self._ledger.sent), timeout_s)

    async def _recovery(self, wanted: dict[int, int]) -> float:
        loop = asyncio.get_running_loop()
        healed = loop.time()
        await drained(self.settings, wanted, RECOVERY_TIMEOUT_S)
        return loop.time() - healed

    async def check(self, ledger: Ledger) -> Report:
        """Run the checker over what is stored now, which must be all that was sent."""
        connection = await connect(**postgres_options(self.settings))
        try:
            async with cached_values(self.settings) as redis:
                await cache_settled(connection, redis, ledger.sent)
                return await check(connection, redis, self.settings, ledger.sent)
        finally:
            await connection.close(timeout=5)


async def _publish(ledger: Ledger, messages: int, per_second: float, trouble: "asyncio.Future[None]") -> None:
    """Publish `messages`, and more while the trouble lasts."""
    await ledger.publish(messages, per_second)
    while not trouble.done():
        await ledger.publish(LOAD_STEP, per_second)
