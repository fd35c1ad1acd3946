"""The cache of finished answers in Redis: `order:` and the uid → the exact bytes that HTTP answers with.

Writes are versioned: a body replaces another only if it is not older, whoever writes and in whatever order.
"""

from collections.abc import Sequence
from importlib.resources import files

from redis.asyncio import Redis

from handlers.body import BEFORE_VERSION, VERSION_WIDTH, body_belongs_to

KEY_PREFIX = b"order:"
_SCRIPT = files("handlers").joinpath("put_newer.lua").read_text(encoding="utf-8")


class OrderCache:
    """Reads and writes bodies in Redis, each call one round trip. Raises `redis.RedisError` when Redis has trouble."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._put_newer = redis.register_script(_SCRIPT)

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

    async def put_many(self, bodies: Sequence[tuple[str, bytes]]) -> None:
        """Store `(uid, body)` pairs for the time to live; a newer body that is already there stays."""
        if not bodies:
            return
        keys = [KEY_PREFIX + uid.encode() for uid, _ in bodies]
        values = [body for _, body in bodies]
        await self._put_newer(keys=keys, args=[self._ttl_s, VERSION_WIDTH, BEFORE_VERSION, *values])
