"""Checks of Redis before a long-running command starts, and by `orderflow doctor`."""

import attrs
import structlog
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from handlers.cache import ACCESS, OrderCache
from handlers.cache_trouble import FULL, NO_PERMISSION, NODE_NOT_REACHABLE, NOT_REACHABLE, Trouble, trouble_of
from orderflow import events
from orderflow.exits import CannotStart
from orderflow.start.connections import cache_servers, redis_client
from orderflow.start.settings import Settings
from orderflow.start.tls import certificate_refusal, speaks_tls

_MENDED_BY_SETTINGS = {"command_missing", "not_a_cluster", "sentinel"}
_SENTINEL = Trouble("sentinel", "it is a Sentinel, which stores no data", "name the primary in REDIS_ADDR")
_NO_SUCH_DATABASE = ("DB index", "SELECT is not allowed")


async def look_at_redis(settings: Settings) -> None:
    """Check Redis once. Trouble that may end by itself is logged: without Redis the cache is empty, and no more.

    Raises `CannotStart` when waiting cannot help.
    """
    trouble = await check_redis(settings)
    if trouble is not None:
        address = ",".join(map(str, settings.redis_addresses))
        log = structlog.get_logger()
        log.warning(events.STARTED_WITHOUT_REDIS, address=address, cause=trouble.cause, problem=trouble.problem)


async def check_redis(settings: Settings) -> Trouble | None:
    """Try out once what the cache does. Return what is wrong. Raises `CannotStart` when waiting cannot help."""
    servers = cache_servers(settings)
    cache = OrderCache(servers, settings.redis_ttl_s)
    try:
        await cache.check_access()
        has_room = await cache.try_out()
    except AuthenticationError:
        raise CannotStart("Redis refused the login: check REDIS_USERNAME and REDIS_PASSWORD") from None
    except (RedisError, OSError) as error:
        if any(text in str(error) for text in _NO_SUCH_DATABASE):
            raise _wrong_database(settings) from None
        trouble = trouble_of(error, in_cluster=servers.is_cluster)
        if trouble == NO_PERMISSION:
            user = settings.redis_username or "default"
            raise CannotStart(
                f"Redis denies {user!r} the keys order:*, order-trace:* and order-traces, or a command that uses them "
                f"({error}): run in redis-cli `ACL SETUSER {user} {ACCESS}`"
            ) from None
        if trouble.cause == "command_missing" and await _is_sentinel(settings):
            trouble = _SENTINEL
        if trouble.cause in _MENDED_BY_SETTINGS:
            raise CannotStart(f"Redis: {trouble}") from None
        if trouble in {NOT_REACHABLE, NODE_NOT_REACHABLE} and (refusal := await _redis_refusal(settings, error)):
            raise CannotStart(refusal) from None
        if trouble == NODE_NOT_REACHABLE:
            return attrs.evolve(NODE_NOT_REACHABLE, problem=f"{NODE_NOT_REACHABLE.problem} ({error})")
        return trouble
    finally:
        await cache.aclose()
    if servers.is_cluster and settings.redis_db:
        raise _wrong_database(settings)
    return None if has_room else FULL


async def _is_sentinel(settings: Settings) -> bool:
    """Return whether the first server says that it is a Sentinel. Redis and Valkey name the field differently."""
    try:
        async with redis_client(settings) as redis:
            information = await redis.info("server")
    except (RedisError, OSError):
        return False
    return "sentinel" in (information.get("redis_mode"), information.get("server_mode"))


def _wrong_database(settings: Settings) -> CannotStart:
    return CannotStart(
        f"Redis has no database {settings.redis_db}: check REDIS_DB; a Redis Cluster has only the database 0"
    )


async def _redis_refusal(settings: Settings, error: BaseException) -> str | None:
    """Return what is wrong with TLS, with the fix; None if TLS is not the problem."""
    address = settings.redis_address
    if reason := certificate_refusal(error):
        return (
            f"Redis's certificate is not accepted ({reason}): check REDIS_ADDR ({address}) and "
            "the system's trust store, or name a PEM file with SSL_CERT_FILE"
        )
    if settings.redis_tls:
        if await _answers_in_plain(settings):
            return f"Redis does not use TLS at {address}: check REDIS_ADDR and REDIS_TLS (true)"
    elif await speaks_tls(address.host or "127.0.0.1", address.port):
        return f"Redis uses TLS at {address}: set REDIS_TLS to true, or check REDIS_ADDR"
    return None


async def _answers_in_plain(settings: Settings) -> bool:
    """Return whether Redis answers without TLS. It sends no password."""
    redis = redis_client(attrs.evolve(settings, redis_tls=False, redis_username="", redis_password=""))
    try:
        await redis.ping()
    except (AuthenticationError, NoPermissionError, ResponseError):
        return True
    except (RedisError, OSError):
        return False
    finally:
        await redis.aclose()
    return True
