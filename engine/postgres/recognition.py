"""Opens a connection to one host, and recognises a pooler in between.

A direct connection costs one statement more than with asyncpg alone, once. A pooler is recognised because it refuses
parameters, or by the pid of the session, which is not the one that was said at the login.
"""

from enum import Enum
from typing import Any

import asyncpg
from asyncpg import Connection

from engine.postgres.pooler import PooledConnection, as_pooled
from engine.postgres.session import KEEPALIVES, TRANSACTION_TIMEOUT, with_server_settings
from engine.postgres.silence import WatchedConnection

_TRIES = 3
_TIMEOUT_S = 60.0
"""asyncpg's own for connecting. The first statements of a connection have the same."""
_HAS_TRANSACTION_TIMEOUT = 17
_TIMED_OUT = "transaction timeout"
_UNSUPPORTED_PARAMETER = "unsupported startup parameter"
# PgBouncer says why it refuses a login in the text alone: the SQLSTATE is that of a protocol violation.
_REFUSED_LOGINS = ("password authentication failed", "SASL authentication failed", "no such user")
_NO_DATABASE = ("no such database", 'database "')


class StatementPooling(asyncpg.InterfaceError):
    """The pooler gives each statement another session, so there are no transactions."""


class _Way(Enum):
    """How to connect: to PostgreSQL; to one whose role has a `transaction_timeout`; through a pooler."""

    DIRECT = "direct"
    UNLIMITED = "unlimited"
    POOLED = "pooled"


_Place = tuple[str, ...]
_ways: dict[_Place, _Way] = {}
"""What was found at each address, so that this process looks for it only once. It is changed when it is found wrong."""


async def open_connection(dsn: str | None = None, **options: Any) -> Connection:
    """Connect like `asyncpg.connect`. Raises the same errors, and `StatementPooling`.

    It can be the argument `connect` of `asyncpg.create_pool`.
    """
    place = tuple(str(part) for part in (dsn, *(options.get(name) for name in ("host", "port", "database", "user"))))
    for _ in range(_TRIES):
        way = _ways.get(place, _Way.DIRECT)
        connection, found = await _try(way, dsn, options)
        if connection is not None:
            return connection
        _ways[place] = found
    raise asyncpg.InterfaceError("the server changes between PostgreSQL and a pooler")


async def _try(way: _Way, dsn: str | None, options: dict[str, Any]) -> tuple[Connection | None, _Way]:
    """Return a connection, or None and the way that may lead to one."""
    connection = None
    try:
        connection = await _open(way, dsn, options)
        found = await _recognise(connection, way, options.get("timeout", _TIMEOUT_S))
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if other := _other_way(way, error):
            return None, other
        if isinstance(error, asyncpg.ProtocolViolationError):
            raise _refusal_of_pooler(error) from None
        raise
    if found is way:
        return connection, way
    connection.terminate()
    return None, found


def _other_way(way: _Way, error: BaseException) -> _Way | None:
    """Return the way to try after this error, None if it does not show another one."""
    if way is not _Way.POOLED and _UNSUPPORTED_PARAMETER in _text(error):
        return _Way.POOLED
    # asyncpg's InternalClientError: the server has ended the session while nothing was asked, or asked just now.
    if way is _Way.DIRECT and (_TIMED_OUT in _text(error) or isinstance(error, asyncpg.InternalClientError)):
        return _Way.UNLIMITED
    if way is _Way.UNLIMITED and isinstance(error, asyncpg.UndefinedObjectError):
        return _Way.DIRECT  # an older server has taken over
    return None


async def _open(way: _Way, dsn: str | None, options: dict[str, Any]) -> Connection:
    if way is not _Way.POOLED:
        more = TRANSACTION_TIMEOUT if way is _Way.UNLIMITED else {}
        watched = {**with_server_settings(options, **more), "connection_class": WatchedConnection}
        direct: Connection = await asyncpg.connect(dsn, **watched)
        return direct
    wanted = {name: value for name, value in (options.get("server_settings") or {}).items() if name not in KEEPALIVES}
    names = {name: value for name, value in wanted.items() if name == "application_name"}
    pooled = {"server_settings": names, "connection_class": PooledConnection, "statement_cache_size": 0}
    connection: PooledConnection = await asyncpg.connect(dsn, **{**options, **pooled})
    if connection.get_server_version().major >= _HAS_TRANSACTION_TIMEOUT:
        wanted |= TRANSACTION_TIMEOUT
    # asyncpg sets `jit` for the session when it reads a type. If it was off already, it would stay off for the others
    # who get this session.
    if wanted.pop("jit", "on") == "off":
        wanted["jit_above_cost"] = "-1"
    connection.settings = wanted
    return connection


async def _recognise(connection: Connection, way: _Way, timeout_s: float) -> _Way:
    if pooled := as_pooled(connection):
        return await _recognise_pooler(pooled, timeout_s)
    # The tag of a simple query counts its rows. A prepared statement would stay behind in a session of the pooler.
    same = f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid()}"
    unlimited = ""
    if connection.get_server_version().major >= _HAS_TRANSACTION_TIMEOUT:
        unlimited = " AND current_setting('transaction_timeout') = '0'"
    if await connection.execute(same + unlimited, timeout=timeout_s) == "SELECT 1":
        return way
    if unlimited and await connection.execute(same, timeout=timeout_s) == "SELECT 1":
        return _Way.UNLIMITED
    return _Way.POOLED


async def _recognise_pooler(connection: PooledConnection, timeout_s: float) -> _Way:
    try:
        pid = await connection.fetchval("SELECT pg_backend_pid()", timeout=timeout_s)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if "statement pooling" in _text(error):
            raise StatementPooling("the pooler is in the mode for statements, which has no transactions") from None
        raise
    return _Way.DIRECT if pid == connection.announced_pid() else _Way.POOLED


def _refusal_of_pooler(error: asyncpg.PostgresError) -> asyncpg.PostgresError:
    """Return the error that PostgreSQL itself would have answered a refused login with."""
    text = _text(error)
    if text.startswith(_REFUSED_LOGINS):
        return asyncpg.InvalidPasswordError(text)
    if text.startswith(_NO_DATABASE):
        return asyncpg.InvalidCatalogNameError(text)
    return error


def _text(error: BaseException) -> str:
    """Return the message; `str` fails for an error of asyncpg that has none."""
    return str(error.args[0]) if error.args else ""
