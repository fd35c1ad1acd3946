"""The cache of order bodies in Redis. The key is `order:` and the uid, the value is the exact body that HTTP returns.

Writes compare versions: a body replaces another one only if it is not older. So several processes may write in any
order.

If the order's message had a traceparent, there is a second key, `order-trace:` and the uid. Its value is the version of
the body and the traceparent.
"""

from collections.abc import Collection, Sequence

from engine.telemetry.trace_context import Traceparent, parse_traceparent
from handlers.body import BEFORE_VERSION, VERSION_WIDTH, Bodies, body_belongs_to
from handlers.cache_node import Command
from handlers.cache_scripts import DROP_OLDER, GET, PUT_NEWER, PUT_TRACES
from handlers.cache_servers import Servers

KEY_PREFIX = b"order:"
TRACE_PREFIX = b"order-trace:"
SOME_TRACES = b"order-traces"
"""This key exists as long as any trace key may exist. Without it lookups do not read the trace keys."""
ACCESS = (
    "~order:* ~order-trace* +ping +info +select +mget +evalsha +script|load +getrange +set +unlink "
    "+cluster|slots +asking"
)
"""The ACL rules that a Redis user needs for the cache."""
_AFTER_TIME = len(b'"}')
_TIME_WIDTH = VERSION_WIDTH - _AFTER_TIME
_TRIAL_TTL_S = 5
_TRIAL_BODY, _LATER = (BEFORE_VERSION + b'%s-01-01T00:00:00.000000Z"}' % year for year in (b"2001", b"2002"))


class OrderCache:
    """Reads and writes bodies in Redis, with few round trips per call. Raises `redis.RedisError` if Redis fails."""

    def __init__(self, servers: Servers, ttl_s: int) -> None:
        self._servers = servers
        self._ttl_s = ttl_s
        self._some_traces = False

    async def get_many(self, uids: Sequence[str]) -> Bodies:
        """Return the cached bodies by uid. Values that are incomplete, or belong to another uid, are left out."""
        if not uids:
            return Bodies()
        encoded = [uid.encode() for uid in uids]
        keys = [*(KEY_PREFIX + uid for uid in encoded), SOME_TRACES]
        trace_keys = [TRACE_PREFIX + uid for uid in encoded] if self._some_traces else []
        values = await self._servers.get(keys + trace_keys)
        found = Bodies(
            (uid, body)
            for uid, body in zip(uids, values, strict=False)
            if body is not None and body_belongs_to(body, uid)
        )
        self._some_traces = values[len(uids)] is not None
        if self._some_traces:
            traces = values[len(keys) :] or await self._servers.get([TRACE_PREFIX + uid for uid in encoded])
            found.traces = {
                uid: traceparent
                for uid, trace in zip(uids, traces, strict=True)
                if trace is not None and uid in found and (traceparent := _read_trace(trace, found[uid]))
            }
        return found

    async def put_many(self, bodies: Sequence[tuple[str, bytes]], traces: Sequence[tuple[str, bytes]] = ()) -> int:
        """Store `(uid, body)` pairs with the time to live. A newer body in the cache is not replaced.

        `traces` are `(uid, versioned_trace)` pairs of the orders that have a trace. Returns how many bodies were not
        stored because the memory of Redis is full. For these uids the older cached body is deleted.
        """
        # Traces are written first, so that each new body has its trace. A trace without its body is ignored.
        if traces:
            pairs = [(SOME_TRACES, b"1"), *((TRACE_PREFIX + uid.encode(), trace) for uid, trace in traces)]
            await self._servers.run(PUT_TRACES, [self._ttl_s, _TIME_WIDTH], pairs)
        pairs = [(KEY_PREFIX + uid.encode(), body) for uid, body in bodies]
        return await self._servers.run(PUT_NEWER, [self._ttl_s, VERSION_WIDTH, BEFORE_VERSION], pairs)

    async def drop_older(self, versions: Sequence[tuple[str, bytes]], only: Collection[str] | None = None) -> int:
        """Delete cached bodies that are older than their `(uid, version)`, or damaged. Return how many were deleted.

        With `only` this is done on the servers with these identities.
        """
        pairs = [(KEY_PREFIX + uid.encode(), version) for uid, version in versions]
        return await self._servers.run(DROP_OLDER, [VERSION_WIDTH, BEFORE_VERSION], pairs, only)

    async def try_out(self) -> bool:
        """Read, write and delete a value on every server, as the cache does. Return whether the memory has room.

        Raises the error that readers or writers would get. One round trip.
        """
        answers = await self._servers.try_out(_trial, _trial_key)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return not any(answers[_PUT :: len(_trial(b""))])

    async def check_access(self) -> None:
        """Check the permissions of readers and writers with one key of each kind. Changes nothing.

        Raises `redis.NoPermissionError` if an ACL does not allow this user to use them.
        """
        keys = [KEY_PREFIX, TRACE_PREFIX, SOME_TRACES]
        await self._servers.get(keys)
        # A width of 0 would read from -0 on, which Redis does not take for a number (Valkey does).
        await self._servers.run(DROP_OLDER, [1, b""], [(key, b"") for key in keys])

    async def identities(self) -> list[str] | None:
        """Return for each server what changes when it may have lost writes. None if a server does not return it."""
        return await self._servers.identities()

    @property
    def is_cluster(self) -> bool:
        """Whether the servers were recognised as a Redis Cluster."""
        return self._servers.is_cluster

    async def aclose(self) -> None:
        """Close all connections."""
        await self._servers.aclose()


def _trial_key(number: int) -> bytes:
    """Return a key that belongs to no order, because no uid has this character."""
    return KEY_PREFIX + b"\0%d" % number


def _trial(key: bytes) -> list[Command]:
    return [
        ("MGET", key),
        ("EVALSHA", GET.sha, 1, key),
        ("EVALSHA", PUT_NEWER.sha, 1, key, _TRIAL_TTL_S, VERSION_WIDTH, BEFORE_VERSION, _TRIAL_BODY),
        ("EVALSHA", DROP_OLDER.sha, 1, key, VERSION_WIDTH, BEFORE_VERSION, _LATER[-VERSION_WIDTH:]),
    ]


_PUT = 2
"""The place of the answer of `PUT_NEWER` among those of `_trial`."""


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
