"""The settings of a session: its name, TCP keepalives, limits of time, and the use of indexes."""

from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 63
"""The maximum length of an identifier in PostgreSQL, in bytes. The rest is cut off."""
KEEPALIVES: Mapping[str, str] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""Server settings with which PostgreSQL detects within seconds that a client's machine is gone, and frees its locks."""
TRANSACTION_TIMEOUT: Mapping[str, str] = {"transaction_timeout": "0"}
"""Known to PostgreSQL 17 and later. An older server refuses the login of a session that has it."""
DEFAULTS: Mapping[str, str] = {
    **KEEPALIVES,
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
}
"""Settings of every session. A role or a database may have others, which are meant for people and other programs.

An engine that they stop in the middle of a batch tries the same batch again, without an end.
"""
OURS = "orderflow"
"""The prefix of `application_name` in every session of orderflow. It tells them apart from those of other programs."""


async def fetch_time_s(connection: Any) -> float:
    """Return the time of the database's clock, in seconds since the epoch. All machines use this clock."""
    now_s: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return now_s


def finding_by_key(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of asyncpg for a session without sequential scans, so that it always uses the indexes.

    A session caches the plans of its statements and of its foreign key checks. A plan that was made while a table was
    empty scans the whole table, and is still used when the table has grown, until PostgreSQL's next analyze.

    A sequential scan that cannot be avoided counts as very expensive, so JIT would compile queries of any size.
    """
    return with_server_settings(options, enable_seqscan="off", jit="off")


def with_server_settings(options: Mapping[str, Any], **settings: str) -> dict[str, Any]:
    """Return options of asyncpg with additional server settings for the session."""
    return {**options, "server_settings": {**(options.get("server_settings") or {}), **settings}}


def session_of(options: Mapping[str, Any], process: str, group: str) -> dict[str, Any]:
    """Return options of asyncpg for the sessions of an engine's process.

    `application_name` contains the process and its consumer group. `DEFAULTS` are set unless `options` has other
    values. PostgreSQL cuts the name after `LONGEST_NAME` bytes, so the group is at its end.
    """
    given = options.get("server_settings") or {}
    return {**options, "server_settings": {**DEFAULTS, **given, "application_name": f"{OURS} {process} of {group}"}}
