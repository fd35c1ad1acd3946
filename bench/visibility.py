"""Measures when an order becomes visible in Redis, with keyspace notifications.

Redis sends the notification when the command, or the script, that set the key has ended. At that time a reader sees the
key. The error of the measurement is the time that the notification takes.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from redis.asyncio import Redis

from orderflow.start.settings import Settings

_EVENTS = "notify-keyspace-events"
_SETS_OF_STRINGS = "E$"
_SUBSCRIBE_TIMEOUT_S = 10
_SETTING_TIMEOUT_S = 1.0


class Visibility(asyncio.Protocol):
    """Records when each key `order:…` was set, by `time.monotonic`. `seen` is by uid."""

    def __init__(self) -> None:
        self.seen: dict[bytes, float] = {}
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Record the uids in the notifications, with as little work as possible."""
        now = monotonic()  # uvloop's own clock counts whole milliseconds
        whole, _, self._rest = (self._rest + data).rpartition(b"\r\n")
        if not self.subscribed.done() and b"subscribe" in whole:
            self.subscribed.set_result(None)
        for uid in re.findall(rb"\norder:([^\r]+)", whole):
            self.seen.setdefault(uid, now)


@asynccontextmanager
async def visibility(settings: Settings, redis: Redis) -> AsyncIterator[Visibility]:
    """Watch a Redis database. The server setting that this needs is restored afterwards."""
    before = (await redis.config_get(_EVENTS))[_EVENTS] or ""
    await redis.config_set(_EVENTS, _SETS_OF_STRINGS)
    try:
        transport, watch = await asyncio.get_running_loop().create_connection(
            Visibility,
            settings.redis_address.host,
            settings.redis_address.port,
            ssl=True if settings.redis_tls else None,
        )
        try:
            if settings.redis_password:
                transport.write(_command("AUTH", settings.redis_username or "default", settings.redis_password))
            transport.write(_command("SUBSCRIBE", f"__keyevent@{settings.redis_db}__:set"))
            await asyncio.wait_for(watch.subscribed, _SUBSCRIBE_TIMEOUT_S)
            yield watch
        finally:
            transport.abort()
    finally:
        await redis.config_set(_EVENTS, before)


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


async def error_of_visibility(watch: Visibility, redis: Redis, count: int) -> list[float]:
    """Set `count` keys one by one. Returns the time between the notification and the answer to SET, in seconds."""
    errors = []
    for number in range(count):
        uid = b"calibration-%d" % number
        await redis.set(b"order:" + uid, b"", ex=60)
        answered = monotonic()
        async with asyncio.timeout(_SETTING_TIMEOUT_S):
            while uid not in watch.seen:  # noqa: ASYNC110 (an event would come later than the notification)
                await asyncio.sleep(0)
        errors.append(abs(watch.seen[uid] - answered))
        await redis.delete(b"order:" + uid)
    return errors
