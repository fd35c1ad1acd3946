"""The judgement of PostgreSQL's errors, and their descriptions without data. docs/guarantees.md has the same table."""

import re
import ssl
from collections.abc import Mapping
from enum import Enum

import asyncpg

from engine.postgres.session import LONGEST_NAME


class Judgement(Enum):
    """What an error is caused by, which decides what the writer does."""

    DATA = "data"
    """A message: it becomes a dead letter, and the others are stored."""
    MOMENTARY = "momentary"
    """Another transaction: another try at once may succeed."""
    OUTAGE = "outage"
    """The server or the network: the engine waits until it is over."""
    SETUP = "set-up"
    """The database's tables, permissions or functions: the engine waits until somebody has changed them."""


JUDGEMENTS: Mapping[str, Judgement] = {
    code: judgement
    for judgement, codes in {
        Judgement.DATA: "02 09 10 20 21 22 23 27 2F 38 39 44 54 P0",
        Judgement.MOMENTARY: "40 55P03",
        Judgement.OUTAGE: "03 08 0B 0F 0Z 24 25 26 2D 34 3B 53 55006 57 58 72 F0 HV XX",
        Judgement.SETUP: "0A 0L 0P 28 2B 3D 3F 42 55",
    }.items()
    for code in codes.split()
}
"""The judgement by SQLSTATE, or by its class: its first two characters."""
_RAISED = "exec_stmt_raise"
"""The name in PostgreSQL's source of the function that executes RAISE. A function may raise any SQLSTATE."""
_FATAL = frozenset({"28000", "28P01", "3D000", "42501"})
_COPIED_ROW = re.compile(r"^COPY ", re.MULTILINE)
"""The begin of a line that quotes the row, which may contain any text."""
_IN_FUNCTION = re.compile(r"^PL/pgSQL function ([\w.$]+)\(", re.MULTILINE)


class Outage(Exception):
    """PostgreSQL cannot do the work now, but may do it later. The message contains no data."""


class SetupNeeded(Outage):
    """Something in the database must be changed before a batch can be written. The message, without data, says what."""


_TROUBLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, ssl.SSLError, Outage)
ERRORS = (*_TROUBLE, asyncpg.PostgresError)
"""What work on a connection may raise."""


def judge(error: BaseException) -> Judgement | None:
    """Return the judgement of an error, or None for an error of the program itself."""
    if isinstance(error, SetupNeeded) or lacks_partition(error):
        return Judgement.SETUP
    if not isinstance(error, asyncpg.PostgresError):
        return Judgement.OUTAGE if isinstance(error, _TROUBLE) else None
    # A table was changed since the statement was prepared: asyncpg has dropped the statement.
    if isinstance(error, asyncpg.exceptions.InvalidCachedStatementError):
        return Judgement.MOMENTARY
    code = error.sqlstate or ""
    # A code that is not PostgreSQL's own is from somebody's function, which refuses a row.
    other = Judgement.DATA if _raised(error) else Judgement.OUTAGE
    return JUDGEMENTS.get(code) or JUDGEMENTS.get(code[:2]) or other


def lacks_partition(error: BaseException) -> bool:
    """Return whether a partitioned table, which the error names, has no partition for a row.

    PostgreSQL reports this as a violated CHECK without a name.
    """
    return (
        isinstance(error, asyncpg.CheckViolationError)
        and bool(error.table_name)
        and not error.constraint_name
        and not _raised(error)
    )


def _raised(error: asyncpg.PostgresError) -> bool:
    return getattr(error, "server_source_function", None) == _RAISED


def refuses_data(error: BaseException) -> bool:
    """Return whether PostgreSQL, or asyncpg's encoder, refused the data (and not for example the connection)."""
    return judge(error) is Judgement.DATA


def is_outage(error: BaseException) -> bool:
    """Return whether waiting may help: an error of the connection, a lock, the disk, the server or the set-up."""
    return judge(error) not in {Judgement.DATA, None}


def is_momentary(error: BaseException) -> bool:
    """Return whether to try again at once: after a deadlock, a serialization failure, or waiting for a lock."""
    return judge(error) is Judgement.MOMENTARY


def needs_setup(error: BaseException) -> bool:
    """Return whether something in the database must be changed: a table, a column, a partition, a permission."""
    return judge(error) is Judgement.SETUP


def is_refusal_to_connect(error: BaseException) -> bool:
    """Return whether PostgreSQL refused the login: wrong password, no such database, no permission."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _FATAL


def describe(error: BaseException) -> str:
    """Return a short description without data of any row: the type of the error, and its SQLSTATE."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__


def describe_refusal(error: BaseException) -> str:
    """Return the result of `describe` with the error's table, column, constraint and function. No data of any row.

    PostgreSQL's message, detail and context quote the row, so they are left out. Texts that are too long for a name are
    left out, too.
    """
    names = [(part, getattr(error, f"{part}_name", None)) for part in ("table", "column", "constraint")]
    names.append(("function", function_of(error)))
    parts = [f"{part} {name}" for part, name in names if name and len(name.encode()) <= LONGEST_NAME]
    return f"{describe(error)}: {', '.join(parts)}" if parts else describe(error)


def function_of(error: BaseException) -> str | None:
    """Return the name of the PL/pgSQL function in which the error was raised, for example of a trigger's."""
    called = _COPIED_ROW.split(getattr(error, "context", None) or "", maxsplit=1)[0]
    found = _IN_FUNCTION.search(called)
    return found and found[1]
