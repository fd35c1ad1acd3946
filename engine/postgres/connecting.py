"""Opens all connections to PostgreSQL: to a host, or to the one host of a cluster that accepts writes."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from asyncpg import Connection

from engine.postgres.errors import is_refusal_to_connect
from engine.postgres.recognition import open_connection

NEXT_AFTER_S = 0.3
"""How long a host is waited for before the next one is tried as well."""


class NoWritableHost(ConnectionError):
    """Hosts of the cluster answer, but none accepts writes now. One of them may be promoted soon."""


async def connect(dsn: str | None = None, **options: Any) -> Connection:
    """Connect as `asyncpg.connect` does; of a list of hosts to the first one that accepts writes.

    Raises what asyncpg raises, `NoWritableHost` and `StatementPooling`. May be the argument `connect` of
    `asyncpg.create_pool`.
    """
    hosts = options.get("host")
    if hosts is None or isinstance(hosts, str):
        return await open_connection(dsn, **options)
    _, connection = await connect_to_one(hosts, options)
    return connection


async def connect_to_one(hosts: Sequence[str], options: dict[str, Any]) -> tuple[str, Connection]:
    """Connect to the only host, or to the first of several that accepts writes. Returns it too.

    Raises as `connect` does.

    asyncpg tries the hosts of a list one after the other within a single time-out: a first host that is silent would
    use it up, and no other would ever be asked. Here each has the whole time-out, and a slow one does not delay the
    next by more than `NEXT_AFTER_S`.
    """
    if len(hosts) == 1:
        return hosts[0], await open_connection(**{**options, "host": hosts[0]})
    left = list(hosts)
    attempts: dict[asyncio.Task[Connection], str] = {}
    pending: set[asyncio.Task[Connection]] = set()
    errors: list[BaseException] = []
    try:
        while left or pending:
            if left:
                host = left.pop(0)
                attempt = asyncio.create_task(_connect_writable(host, options), name=f"postgresql-{host}")
                attempts[attempt] = host
                pending.add(attempt)
            done, pending = await asyncio.wait(
                pending, timeout=NEXT_AFTER_S if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                if error := attempt.exception():
                    errors.append(error)
                else:
                    return attempts.pop(attempt), attempt.result()
        raise max(errors, key=_weight)
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close)


async def _connect_writable(host: str, options: dict[str, Any]) -> Connection:
    """Connect, and ask the host itself whether it accepts writes.

    asyncpg's `target_session_attrs` believes what is said at the login: behind a pooler that is from its first session.
    """
    connection = await open_connection(**{**options, "host": host})
    try:
        if await connection.fetchval("SHOW transaction_read_only", timeout=options.get("timeout")) == "off":
            return connection
    except BaseException:
        connection.terminate()
        raise
    connection.terminate()
    raise NoWritableHost("no host accepts writes")


def _weight(error: BaseException) -> int:
    """Return how much an error says: what waiting cannot mend says more than a host that is down."""
    if is_refusal_to_connect(error):
        return 3
    if isinstance(error, ssl.SSLError):
        return 2
    return int(isinstance(error, NoWritableHost))


def _close(attempt: "asyncio.Task[Connection]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()
