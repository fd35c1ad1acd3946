"""The classification of PostgreSQL's errors, and their descriptions without data."""

import ssl

import asyncpg

from engine.postgres.session import LONGEST_NAME

_DATA_CLASSES = frozenset({"22", "23", "54"})
"""SQLSTATE classes for invalid data: data exception, integrity constraint violation, program limit exceeded."""
_QUICK_RETRY = frozenset({"40001", "40P01"})
_FATAL = frozenset({"28000", "28P01", "3D000", "42501"})


class Outage(Exception):
    """PostgreSQL cannot do the work now, but may do it later. The message contains no data."""


_TROUBLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, ssl.SSLError, Outage)
ERRORS = (*_TROUBLE, asyncpg.PostgresError)
"""What work on a connection may raise."""


def refuses_data(error: BaseException) -> bool:
    """Return whether PostgreSQL, or asyncpg's encoder, refused the data (and not for example the connection)."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES
    return isinstance(error, asyncpg.exceptions.DataError)


def is_outage(error: BaseException) -> bool:
    """Return whether waiting may help: an error of the connection, a lock, the disk, the server or a missing table."""
    if isinstance(error, asyncpg.PostgresError):
        return not refuses_data(error)
    return isinstance(error, _TROUBLE)


def is_momentary(error: BaseException) -> bool:
    """Return whether to try again at once: after a deadlock or a serialization failure."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _QUICK_RETRY


def is_refusal_to_connect(error: BaseException) -> bool:
    """Return whether PostgreSQL refused the login: wrong password, no such database, no permission."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _FATAL


def describe(error: BaseException) -> str:
    """Return a short description without data of any row: the type of the error, and its SQLSTATE."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__


def describe_refusal(error: BaseException) -> str:
    """Return the result of `describe` with the table, column and constraint of the error. No data of any row.

    PostgreSQL's message, detail and context quote the row, so they are left out. Texts that are too long for a name are
    left out, too.
    """
    names = ((part, getattr(error, f"{part}_name", None)) for part in ("table", "column", "constraint"))
    parts = [f"{part} {name}" for part, name in names if name and len(name.encode()) <= LONGEST_NAME]
    return f"{describe(error)}: {', '.join(parts)}" if parts else describe(error)
