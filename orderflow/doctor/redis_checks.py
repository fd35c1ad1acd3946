"""Checks of Redis: reachable, version, and memory for the cache."""

from collections.abc import AsyncIterator
from typing import Any

from redis.exceptions import RedisError

from handlers.cache_trouble import NOT_REACHABLE
from orderflow.doctor.finding import Finding, Outcome, failed, ok, skipped
from orderflow.exits import CannotStart
from orderflow.start.connections import redis_client
from orderflow.start.redis import check_redis
from orderflow.start.settings import Settings

OLDEST_VERSION = (7, 0)
FULL_SHARE = 0.95
_PRODUCTS = {
    "valkey_version": "Valkey",
    "dragonfly_version": "Dragonfly",
    "kvrocks_version": "Kvrocks",
    "garnet_version": "Garnet",
}
"""Names of servers, by the field of INFO that only they have."""


async def examine_redis(settings: Settings) -> AsyncIterator[Finding]:
    """Run the checks one after the other; those that need Redis are skipped without it."""
    address = ",".join(map(str, settings.redis_addresses))
    try:
        trouble = await check_redis(settings)
    except CannotStart as problem:
        yield Finding("Redis", Outcome.FAILED, str(problem))
        reached = False
    else:
        reached = trouble != NOT_REACHABLE
        if trouble is None:
            yield ok("Redis", f"answers at {address}")
        elif reached:
            yield failed(
                "Redis", f"{address} does not serve the cache ({trouble.cause}): {trouble.problem}", trouble.fix
            )
        else:
            fix = "start it (`orderflow services up`), or check REDIS_ADDR and REDIS_TLS"
            yield failed("Redis", f"nothing answers at {address}", fix)
    if not reached:
        yield skipped("Redis version", "Redis")
        yield skipped("Redis memory", "Redis")
        return
    try:
        information = await _information(settings)
    except (RedisError, OSError) as error:
        yield failed(
            "Redis version", f"INFO is refused ({type(error).__name__})", "give REDIS_USERNAME the right +info"
        )
        return
    yield _version(information)
    yield _memory(information)


async def _information(settings: Settings) -> dict[str, Any]:
    """Return what the first server of the list that answers says of itself."""
    problem: Exception | None = None
    for address in settings.redis_addresses:
        async with redis_client(settings, address=address) as redis:
            try:
                return dict(await redis.info("server", "memory", "stats"))
            except (RedisError, OSError) as error:
                problem = error
    assert problem is not None
    raise problem


def product_of(server: dict[str, Any]) -> str:
    """Return the name and the version of a server that speaks Redis's protocol, as it gives them itself.

    Most of them name the version of Redis whose commands they have, too.
    """
    for field, name in _PRODUCTS.items():
        if field in server:
            return f"{name} {server[field]}"
    name = "KeyDB" if str(server.get("executable", "")).endswith("keydb-server") else "Redis"
    return f"{name} {server['redis_version']}"


def _version(server: dict[str, Any]) -> Finding:
    product, text = product_of(server), str(server["redis_version"])
    if "valkey_version" in server:  # its oldest version has the commands of Redis 7.2
        return ok("Redis version", product)
    if text not in product:
        product += f", with the commands of Redis {text}"
    if tuple(int(part) for part in text.split(".")[:2]) < OLDEST_VERSION:
        return failed("Redis version", f"{product} is too old", "run Redis 7.0 or later, or Valkey")
    return ok("Redis version", product)


def _memory(server: dict[str, Any]) -> Finding:
    maximum, used, evicted = server["maxmemory"], server["used_memory"], server["evicted_keys"]
    proposed_mib = max(2 * max(maximum, used) // 2**20, 1)
    fix = f"run in redis-cli: CONFIG SET maxmemory {proposed_mib}mb, CONFIG RESETSTAT (or lower REDIS_TTL)"
    if evicted:
        return failed("Redis memory", f"{evicted:,} keys were evicted, and lookups go to PostgreSQL instead", fix)
    if maximum and used > FULL_SHARE * maximum:
        return failed("Redis memory", f"{used / maximum:.0%} of maxmemory is used", fix)
    limit = f" of {maximum / 2**20:.0f} MiB" if maximum else ", no limit"
    return ok("Redis memory", f"{used / 2**20:.0f} MiB used{limit}")
