"""The cache behind a circuit breaker: a Redis failure delays one call by one deadline, and fails no lookup."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from engine.actors.cancelling import cancel
from handlers.body import Bodies
from handlers.cache import OrderCache
from lookup.serving import events

log = structlog.get_logger()


class GuardedCache:
    """Reads and fills the cache while Redis is well, and skips it otherwise.

    The first failed call opens the circuit. From then on every read is an immediate miss, until a probe in the
    background finds Redis well: only the probe waits for deadlines, lookups do not.

    While the circuit is closed there is a probe every `check_s` seconds. A server that refuses writes, such as a
    demoted primary, still answers reads. But no writer can correct its answers, so it must not be read.
    """

    def __init__(self, cache: OrderCache, *, deadline_s: float, probe_pause_s: float, check_s: float) -> None:
        self._cache = cache
        self._deadline_s = deadline_s
        self._probe_pause_s = probe_pause_s
        self._check_s = check_s
        self._lost = asyncio.Event()
        self._probes: asyncio.Task[None] | None = None
        self._fills_refused = False

    @property
    def available(self) -> bool:
        """Whether Redis was well at the last call."""
        return not self._lost.is_set()

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        """Return the cached bodies by uid. Orders that are not cached, or cannot be read now, are left out."""
        if self._probes is None:
            self._probes = asyncio.create_task(self._probe_regularly(), name="cache-probe")
        if not uids or not self.available:
            return Bodies()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._cache.get_many(uids)
        except Exception as error:
            # Any error counts as a miss: PostgreSQL can answer.
            self._lose(error)
            return Bodies()

    async def put_many(self, bodies: Sequence[tuple[str, bytes]], traces: Sequence[tuple[str, bytes]] = ()) -> None:
        """Store `(uid, body)` and `(uid, versioned_trace)` pairs. A newer version in Redis stays; errors are logged."""
        if not bodies or not self.available:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                trouble = "full" if await self._cache.put_many(bodies, traces) else None
        except Exception as error:
            # Whether Redis must not be read either is for the next probe to find out.
            trouble = type(error).__name__
        if trouble and not self._fills_refused:
            log.warning(events.CACHE_FILL_FAILED, error=trouble)
        self._fills_refused = trouble is not None

    def _lose(self, error: Exception) -> None:
        if self.available:
            log.warning(events.CACHE_LOST, error=type(error).__name__)
            self._lost.set()

    async def _probe_regularly(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._check_s):
                    await self._lost.wait()
            if not self.available:
                await asyncio.sleep(self._probe_pause_s)
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._cache.try_out()
            except Exception as error:
                self._lose(error)
                continue
            if not self.available:
                self._lost.clear()
                log.info(events.CACHE_BACK)

    async def stop(self) -> None:
        """End the probes. Stopping twice is fine."""
        if self._probes is not None:
            await cancel(self._probes)
