"""The cache of order bodies in Redis. The key is `order:` and the uid, the value is the exact body that HTTP returns.

Writes compare versions: a body replaces another one only if it is not older. So several processes may write in any
order.

If the order's message had a traceparent, there is a second key, `order-trace:` and the uid. Its value is the version of
the body and the traceparent.
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
"""This key exists as long as any trace key may exist. Without it lookups do not read the trace keys."""
ACCESS = "~order:* ~order-trace* +ping +info +select +mget +evalsha +script|load +getrange +set +unlink"
"""The ACL rules that a Redis user needs for the cache."""
_AFTER_TIME = len(b'"}')
_TIME_WIDTH = VERSION_WIDTH - _AFTER_TIME
ORDERS_A_SCRIPT = 250
"""How many orders one script call writes. Redis serves no other client during a call, and larger calls are slower."""


def _script(name: str) -> str:
    return files("handlers").joinpath(name).read_text(encoding="utf-8")


class OrderCache:
    """Reads and writes bodies in Redis, with few round trips per call. Raises `redis.RedisError` if Redis fails."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._some_traces = False
        self._put_newer = redis.register_script(_script("put_newer.lua"))
        self._put_traces = redis.register_script(_script("put_traces.lua"))
        self._drop_older = redis.register_script(_script("drop_older.lua"))

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        """Return the cached bodies by uid. Values that are incomplete, or belong to another uid, are left out."""
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
        """Store `(uid, body)` pairs with the time to live. A newer body in the cache is not replaced.

        `traces` are `(uid, versioned_trace)` pairs of the orders that have a trace. Returns how many bodies were not
        stored because the memory of Redis is full. For these uids the older cached body is deleted.
        """
        # Traces are written first, so that each new body has its trace. A trace without its body is ignored.
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
        """Delete cached bodies that are older than their `(uid, version)`, or damaged. Return how many were deleted."""
        keys = [KEY_PREFIX + uid.encode() for uid, _ in versions]
        return int(
            await self._drop_older(
                keys=keys, args=[VERSION_WIDTH, BEFORE_VERSION, *(version for _, version in versions)]
            )
        )

    async def check_access(self) -> None:
        """Check the permissions of readers and writers with one key of each kind. Changes nothing.

        Raises `redis.NoPermissionError` if an ACL does not allow this user to use them.
        """
        keys = [KEY_PREFIX, TRACE_PREFIX, SOME_TRACES]
        await self._get(keys)
        with suppress(NoScriptError):  # Redis checks the ACL first; the script does not exist
            await self._redis.evalsha("0" * 40, len(keys), *keys)

    async def run_id(self) -> str | None:
        """Return the run id of this Redis server, which changes at a restart. None if the server does not return it."""
        run_id = (await self._redis.info("server")).get("run_id")
        return None if run_id is None else str(run_id)


def versioned_trace(body: bytes, traceparent: Traceparent) -> bytes:
    """Return the cached value of an order's trace: the version of its body and the traceparent."""
    return _version(body) + traceparent.encode()


def versioned_traces(bodies: Bodies) -> list[tuple[str, bytes]]:
    """Return `(uid, versioned_trace)` pairs of the orders that have a trace."""
    return [(uid, versioned_trace(bodies[uid], traceparent)) for uid, traceparent in bodies.traces.items()]


def _read_trace(value: bytes, body: bytes) -> Traceparent | None:
    """Return the traceparent in a cached value, or None if it belongs to another version of the body."""
    return parse_traceparent(value[_TIME_WIDTH:]) if value.startswith(_version(body)) else None


def _version(body: bytes) -> bytes:
    return body[-VERSION_WIDTH:-_AFTER_TIME]
