"""Checks of Redis before a long-running command starts, and by `orderflow doctor`."""

import attrs
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from handlers.cache import ACCESS, OrderCache
from orderflow.exits import CannotStart
from orderflow.start.connections import redis_client
from orderflow.start.settings import Settings
from orderflow.start.tls import certificate_refusal, speaks_tls


async def check_redis(settings: Settings) -> bool:
    """Check once. Returns False when Redis is down. Raises `CannotStart` when waiting cannot help."""
    redis = redis_client(settings)
    try:
        await redis.ping()
        await OrderCache(redis, settings.redis_ttl_s).check_access()
    except NoPermissionError as error:
        user = settings.redis_username or "default"
        raise CannotStart(
            f"Redis denies {user!r} the keys order:*, order-trace:* and order-traces, or a command that uses them "
            f"({error}): run in redis-cli `ACL SETUSER {user} {ACCESS}`"
        ) from None
    except AuthenticationError:
        raise CannotStart("Redis refused the login: check REDIS_USERNAME and REDIS_PASSWORD") from None
    except ResponseError as error:
        if "DB index" in str(error):
            raise CannotStart(f"Redis has no database {settings.redis_db}: check REDIS_DB") from None
        return False
    except (RedisError, OSError) as error:
        if refusal := await _redis_refusal(settings, error):
            raise CannotStart(refusal) from None
        return False
    finally:
        await redis.aclose()
    return True


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
