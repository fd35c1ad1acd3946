"""The cache of finished answers in Redis: `order:` and the uid → the exact bytes that HTTP answers with.

Writes are versioned: a body replaces another only if it is not older, whoever writes and in whatever order.
"""

from collections.abc import Sequence
from importlib.resources import files

from redis.asyncio import Redis

from handlers.body import BEFORE_VERSION, VERSION_WIDTH, body_belongs_to

KEY_PREFIX = b"order:"
ORDERS_A_SCRIPT = 250
"""How many orders one script call writes. Redis answers nobody else meanwhile, and more do not fit its core's cache."""


def _script(name: str) -> str:
    return files("handlers").joinpath(name).read_text(encoding="utf-8")


class OrderCache:
    """Reads and writes bodies in Redis, each call few round trips. Raises `redis.RedisError` when Redis has trouble."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._put_newer = redis.register_script(_script("put_newer.lua"))
        self._drop_older = redis.register_script(_script("drop_older.lua"))

    async def get_many(self, uids: Sequence[str]) -> list[bytes | None]:
        """Return a body or None for each uid, in order. A value that is not whole, or of another uid, is None."""
        if not uids:
            return []
        bodies: list[bytes | None] = await self._redis.mget(  # type: ignore[assignment]
            [KEY_PREFIX + uid.encode() for uid in uids]
        )
        return [
            body if body is not None and body_belongs_to(body, uid) else None
            for uid, body in zip(uids, bodies, strict=True)
        ]

    async def put_many(self, bodies: Sequence[tuple[str, bytes]]) -> int:
        """Store `(uid, body)` pairs for the time to live; a newer body that is already there stays.

        Returns how many found no room: of those nothing older is left in the cache either.
        """
        refused = 0
        for start in range(0, len(bodies), ORDERS_A_SCRIPT):
            part = bodies[start : start + ORDERS_A_SCRIPT]
            keys = [KEY_PREFIX + uid.encode() for uid, _ in part]
            values = [body for _, body in part]
            refused += int(await self._put_newer(keys=keys, args=[self._ttl_s, VERSION_WIDTH, BEFORE_VERSION, *values]))
        return refused

    async def drop_older(self, versions: Sequence[tuple[str, bytes]]) -> int:
        """Delete what is cached in an older version than `(uid, version)` says; return how many that were."""
        keys = [KEY_PREFIX + uid.encode() for uid, _ in versions]
        return int(
            await self._drop_older(
                keys=keys, args=[VERSION_WIDTH, BEFORE_VERSION, *(version for _, version in versions)]
            )
        )

    async def run_id(self) -> str | None:
        """Return what tells this Redis server from any other, and from itself restarted; None if it hides that."""
        run_id = (await self._redis.info("server")).get("run_id")
        return None if run_id is None else str(run_id)
