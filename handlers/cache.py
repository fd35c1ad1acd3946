"""The cache of finished answers in Redis: `order:` and the uid → the exact bytes that HTTP answers with.

Writes are versioned: a body replaces another only if it is not older, whoever writes and in whatever order.

Beside it, only where the order's message named a trace: `order-trace:` and the uid → the version and the traceparent.
"""

from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from engine.telemetry.trace_context import Traceparent, parse_traceparent
from handlers.body import BEFORE_VERSION, VERSION_WIDTH, Bodies, body_belongs_to

KEY_PREFIX = b"order:"
TRACE_PREFIX = b"order-trace:"
SOME_TRACES = b"order-traces"
"""A key that is there as long as any trace may be: where no producer traces, lookups ask for this one only."""
ACCESS = "~order:* ~order-trace* +ping +info +select +mget +evalsha +script|load +getrange +set +unlink"
"""All that a Redis user needs for the cache, as ACL rules."""
_AFTER_TIME = len(b'"}')
_TIME_WIDTH = VERSION_WIDTH - _AFTER_TIME
ORDERS_A_SCRIPT = 250
"""How many orders one script call writes. Redis answers nobody else meanwhile, and more do not fit its core's cache."""


def _script(name: str) -> str:
    return files("handlers").joinpath(name).read_text(encoding="utf-8")


class OrderCache:
    """Reads and writes bodies in Redis, each call few round trips. Raises `redis.RedisError` when Redis has trouble."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._some_traces = False
        self._put_newer = redis.register_script(_script("put_newer.lua"))
        self._put_traces = redis.register_script(_script("put_traces.lua"))
        self._drop_older = redis.register_script(_script("drop_older.lua"))

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        """Return the cached bodies by uid. A value that is not whole, or of another uid, is left out."""
        if not uids:
            return Bodies()
        encoded = [uid.encode() for uid in uids]
        keys = [*(KEY_PREFIX + uid for uid in encoded), SOME_TRACES]
        trace_keys = [TRACE_PREFIX + uid for uid in encoded] if self._some_traces else []
        values = await self._get(keys + trace_keys)
        found = Bodies(
            (uid, body)
            for uid, body in zip(uids, values, strict=False)
            if body is not None and body_belongs_to(body, uid)
        )
        self._some_traces = values[len(uids)] is not None
        if self._some_traces:
            traces = values[len(keys) :] or await self._get([TRACE_PREFIX + uid for uid in encoded])
            found.traces = {
                uid: traceparent
                for uid, trace in zip(uids, traces, strict=True)
                if trace is not None and uid in found and (traceparent := _read_trace(trace, found[uid]))
            }
        return found

    async def _get(self, keys: list[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = await self._redis.mget(keys)  # type: ignore[assignment]
        return values

    async def put_many(self, bodies: Sequence[tuple[str, bytes]], traces: Sequence[tuple[str, bytes]] = ()) -> int:
        """Store `(uid, body)` pairs for the time to live; a newer body that is already there stays.

        `traces` are `(uid, versioned_trace)` pairs of those that have one. Returns how many bodies found no room: of
        those nothing older is left in the cache either.
        """
        # The traces first: one that belongs to no body yet is not told, and no body is without its own.
        for start in range(0, len(traces), ORDERS_A_SCRIPT):
            part = traces[start : start + ORDERS_A_SCRIPT]
            keys = [SOME_TRACES, *(TRACE_PREFIX + uid.encode() for uid, _ in part)]
            await self._put_traces(keys=keys, args=[self._ttl_s, _TIME_WIDTH, *(trace for _, trace in part)])
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

    async def check_access(self) -> None:
        """Ask as readers and writers do, for a key of each kind, and change nothing.

        Raises `redis.NoPermissionError` when an ACL keeps this user away from any of them.
        """
        keys = [KEY_PREFIX, TRACE_PREFIX, SOME_TRACES]
        await self._get(keys)
        with suppress(NoScriptError):  # an ACL is heeded before the script, which there is not, is looked for
            await self._redis.evalsha("0" * 40, len(keys), *keys)

    async def run_id(self) -> str | None:
        """Return what tells this Redis server from any other, and from itself restarted; None if it hides that."""
        run_id = (await self._redis.info("server")).get("run_id")
        return None if run_id is None else str(run_id)


def versioned_trace(body: bytes, traceparent: Traceparent) -> bytes:
    """Return what is cached of an order's trace: the version of the body that it belongs to, and the traceparent."""
    return _version(body) + traceparent.encode()


def versioned_traces(bodies: Bodies) -> list[tuple[str, bytes]]:
    """Return the uid and the `versioned_trace` of all that have a trace."""
    return [(uid, versioned_trace(bodies[uid], traceparent)) for uid, traceparent in bodies.traces.items()]


def _read_trace(value: bytes, body: bytes) -> Traceparent | None:
    """Return the traceparent in a cached value; None if it is that of another version."""
    return parse_traceparent(value[_TIME_WIDTH:]) if value.startswith(_version(body)) else None


def _version(body: bytes) -> bytes:
    return body[-VERSION_WIDTH:-_AFTER_TIME]
