"""The health checks of PostgreSQL, Redis and the dead letters."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from asyncpg import InvalidAuthorizationSpecificationError
from redis.exceptions import RedisError

from engine.dead_letters.outbox import WAITING, WAITING_ORDER
from engine.postgres.connecting import NoWritableHost
from engine.postgres.standby import COMMITS_WAIT, commits_wait
from handlers.cache import OrderCache
from handlers.cache_trouble import FULL, NOT_REACHABLE, Trouble, trouble_of
from handlers.cache_trouble import LOGIN_REFUSED as CACHE_LOGIN_REFUSED
from lookup.operations.health import LOGIN_REFUSED, Impaired, Unhealthy, describe_tls

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool

# Letters that are too large for the topic have a `publish_error`, and do not wait.
_WAITING = f"""
SELECT count(*)::int AS letters, min(failed_at) AS since,
       coalesce(min(failed_at) < now() - make_interval(secs => $3), false) AS overdue
FROM (SELECT failed_at FROM dead_letters WHERE {WAITING} ORDER BY {WAITING_ORDER} LIMIT $4) AS waiting
"""
MAX_LETTERS_COUNTED = 10_000


class StoreCheck:
    """PostgreSQL answers a query, and confirms commits."""

    def __init__(self, pool: "Pool", deadline_s: float) -> None:
        self._pool = pool
        self._deadline_s = deadline_s

    async def __call__(self) -> Mapping[str, Any]:
        """Run the check. Raises `Impaired` when commits wait for a standby, else what asyncpg raises.

        Raises `Unhealthy` when the login is refused, or when no host of a list accepts writes.
        """
        try:
            async with connection_of(self._pool, self._deadline_s) as connection:
                waits = await commits_wait(connection)
        except InvalidAuthorizationSpecificationError:
            raise Unhealthy(LOGIN_REFUSED) from None
        except NoWritableHost:
            raise Unhealthy("no host accepts writes") from None
        if waits:
            raise Impaired(f"{COMMITS_WAIT}: see `orderflow doctor`", cause=COMMITS_WAIT)
        return {}


class DeadLetterCheck:
    """No dead letter has waited longer than `max_wait_s` seconds to reach the dead-letter topic."""

    def __init__(self, pool: "Pool", deadline_s: float, topic: str, group: str, max_wait_s: float) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._consumer = (group, topic)
        self._max_wait_s = max_wait_s

    async def __call__(self) -> Mapping[str, Any]:
        """Return how many letters wait (counts at most `MAX_LETTERS_COUNTED`), and since when. Raises `Unhealthy`."""
        [row] = await _fetch(
            self._pool, _WAITING, *self._consumer, self._max_wait_s, MAX_LETTERS_COUNTED, deadline_s=self._deadline_s
        )
        waiting = {"waiting": row["letters"]}
        if row["since"] is not None:
            waiting["since"] = row["since"].isoformat().replace("+00:00", "Z")
        if row["overdue"]:
            raise Unhealthy("dead letters do not reach their topic", **waiting)
        return waiting


class CacheCheck:
    """Every Redis server of the cache accepts what readers and writers do."""

    def __init__(self, cache: OrderCache) -> None:
        self._cache = cache

    async def __call__(self) -> Mapping[str, Any]:
        """Run the check. Raises `Unhealthy` with the cause when Redis is unreachable or refuses something."""
        try:
            has_room = await self._cache.try_out()
        except (RedisError, OSError) as error:
            trouble = trouble_of(error, in_cluster=self._cache.is_cluster)
            raise Unhealthy(describe_tls(error) or _describe(trouble), cause=trouble.cause) from None
        if not has_room:
            raise Unhealthy(str(FULL), cause=FULL.cause)
        return {}


def _describe(trouble: Trouble) -> str:
    if trouble.cause == NOT_REACHABLE.cause:
        return trouble.problem
    return LOGIN_REFUSED if trouble.cause == CACHE_LOGIN_REFUSED.cause else str(trouble)


async def _fetch(pool: "Pool", query: str, *arguments: Any, deadline_s: float) -> list[Any]:
    async with connection_of(pool, deadline_s) as connection:
        return await connection.fetch(query, *arguments)


@asynccontextmanager
async def connection_of(pool: "Pool", deadline_s: float) -> "AsyncIterator[Connection]":
    """Provide a connection of the pool, waiting at most `deadline_s` seconds. Raises what asyncpg raises."""
    connection = await pool.acquire(timeout=deadline_s)
    try:
        yield connection
    except asyncio.CancelledError:
        # Releasing a connection waits until the server confirms the cancellation, and a frozen server never does.
        connection.terminate()
        raise
    finally:
        await pool.release(connection)
