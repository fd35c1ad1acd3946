"""Runs another program on the same backlog and the reference schema, to compare it with the engine."""

import re
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import attrs

from bench.backlog import Backlog
from bench.programs import helper, program
from bench.testbed import Testbed, connection, per_order_us, redis_of, redis_url, settle
from bench.verification import verify_cached, verify_reference
from orderflow.start.settings import parse_settings
from tests.support.programs import RUN_MARK

BATCH = 1000
PEER_WORKERS = 4
YARDSTICK_PROCESSES = 2
_SLOWEST_ORDERS_PER_S = 300
_START_S = 60
_RATE = re.compile(r"= *([\d.]+) */s")
PLACES = ("broker", "topic", "total", "batch", "workers", "dsn", "redis", "redis_url")


class RedisInUse(Exception):
    """The Redis database that a peer writes to contains other data."""


@attrs.frozen
class PeerRun:
    """The results of a program. `processor_us` is the CPU time per order in microseconds, by process."""

    orders_per_s: float
    processor_us: dict[str, float]


async def run_peer(testbed: Testbed, backlog: Backlog, command: str) -> PeerRun:
    """Run a program on `backlog`. Its rate is the one that it prints as `= N/s`, else the orders divided by its time.

    `command` may contain placeholders such as `{broker}` (see `PLACES`). `{redis}` is only an address, so the peer
    writes to database 0 there: this must be empty, and is emptied afterwards. Raises `OrdersLost` and `ProgramFailed`.
    """
    redis_db = redis_database(command)
    async with testbed.stores(testbed.reference) as stores, peer_redis(stores, redis_db) as environment:
        settings = parse_settings({**backlog.environment, **environment})
        places = {
            "broker": settings.kafka_bootstrap[0],
            "topic": settings.kafka_topic,
            "total": str(backlog.messages),
            "batch": str(BATCH),
            "workers": str(PEER_WORKERS),
            "dsn": settings.postgres_url(),
            "redis": str(settings.redis_address),
            "redis_url": redis_url(settings),
        }
        return await _timed(testbed, backlog, command_words(command, places), environment)


async def run_yardstick(testbed: Testbed, backlog: Backlog) -> PeerRun:
    """Run `bench.yardstick` on `backlog`."""
    places = ["{broker}", "{topic}", "{total}", "{batch}", str(YARDSTICK_PROCESSES), "{dsn}", "{redis_url}"]
    return await run_peer(testbed, backlog, shlex.join(helper("yardstick", *places)))


async def _timed(testbed: Testbed, backlog: Backlog, command: Sequence[str], environment: dict[str, str]) -> PeerRun:
    async with connection(environment) as database:
        await settle(database)
        before, began = testbed.processor_s(), perf_counter()
        async with program("peer", command, {RUN_MARK: testbed.mark}, testbed.folder) as peer:
            await peer.wait(_START_S + backlog.messages / _SLOWEST_ORDERS_PER_S)
            seconds = perf_counter() - began
        spent = per_order_us(before, testbed.processor_s(), backlog.messages)
        await verify_reference(database, backlog)
        async with redis_of(environment) as redis:
            await verify_cached(redis, backlog.uids)
    rate = printed_rate(peer.log.read_text(errors="replace")) or backlog.messages / seconds
    return PeerRun(rate, spent)


def redis_database(command: str) -> int | None:
    """Return the Redis database that a peer uses: 0 if it is given only the address, None if it is given a URL."""
    return 0 if "{redis}" in command else None


def command_words(command: str, places: Mapping[str, str]) -> list[str]:
    """Split a peer's command line into words, and fill in its placeholders."""
    program_name, *arguments = shlex.split(command)
    if Path(program_name).exists():
        program_name = str(Path(program_name).absolute())  # it runs in another folder
    return [program_name, *(word.format(**places) for word in arguments)]


def printed_rate(output: str) -> float | None:
    """Return the number in the last `= N/s` of a program's output, or None."""
    found = _RATE.findall(output)
    return float(found[-1]) if found else None


@asynccontextmanager
async def peer_redis(environment: dict[str, str], database: int | None) -> AsyncIterator[dict[str, str]]:
    """Provide the environment with the given Redis database (None: unchanged). Empties the database afterwards."""
    if database is None:
        yield environment
        return
    asked_for = {**environment, "REDIS_DB": str(database)}
    async with redis_of(asked_for) as redis:
        if await redis.dbsize():
            raise RedisInUse(f"Redis database {database} is not empty: it would be emptied after the peer's run")
        try:
            yield asked_for
        finally:
            await redis.flushdb()
