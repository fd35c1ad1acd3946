"""The cache behind a circuit breaker: a Redis failure delays one call by one deadline, and fails no lookup."""

import asyncio
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis

from handlers.body import Bodies
from handlers.cache import OrderCache
from lookup.serving import events

log = structlog.get_logger()


class GuardedCache:
    """Reads and fills the cache while Redis answers, and skips it while Redis does not answer.

    The first failed call opens the circuit. From then on every read is an immediate miss, until a probe in the
    background gets an answer from Redis: only the probe waits for deadlines, lookups do not.
    """

    def __init__(self, redis: Redis, cache: OrderCache, *, deadline_s: float, probe_pause_s: float) -> None:
        self._redis = redis
        self._cache = cache
        self._deadline_s = deadline_s
        self._probe_pause_s = probe_pause_s
        self._probe: asyncio.Task[None] | None = None
        self._fills_refused = False

    @property
    def available(self) -> bool:
        """Whether Redis answered the last call."""
        return self._probe is None

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        """Return the cached bodies by uid. Orders that are not cached, or cannot be read now, are left out."""
        if not uids or not self.available:
            return Bodies()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._cache.get_many(uids)
        except Exception as error:
            # Any error counts as a miss: PostgreSQL can answer.
            self._open_circuit(error)
            return Bodies()

    async def put_many(self, bodies: Sequence[tuple[str, bytes]], traces: Sequence[tuple[str, bytes]] = ()) -> None:
        """Store `(uid, body)` and `(uid, versioned_trace)` pairs. A newer version in Redis stays; errors are logged."""
        if not bodies or not self.available:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                trouble = "full" if await self._cache.put_many(bodies, traces) else None
        except Exception as error:
            # A Redis that refuses writes still answers reads: the circuit stays closed.
            trouble = type(error).__name__
        if trouble and not self._fills_refused:
            log.warning(events.CACHE_FILL_FAILED, error=trouble)
        self._fills_refused = trouble is not None

    def _open_circuit(self, error: BaseException) -> None:
        if self._probe is None:
            log.warning(events.CACHE_LOST, error=type(error).__name__)
            self._probe = asyncio.create_task(self._probe_until_healthy(), name="cache-probe")

    async def _probe_until_healthy(self) -> None:
        while True:
            await asyncio.sleep(self._probe_pause_s)
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._redis.ping()
            except Exception:
                continue
            self._probe = None
            log.info(events.CACHE_BACK)
            return

    async def stop(self) -> None:
        """End the probe. Stopping twice is fine."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait({self._probe})
