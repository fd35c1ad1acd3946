"""What an error of PostgreSQL means: refused data is bisected, an outage is waited out, a defect ends the worker."""

import asyncio
import re
import ssl
from pathlib import Path

import asyncpg
import pytest
from asyncpg import exceptions

from engine.postgres.errors import (
    JUDGEMENTS,
    Judgement,
    Outage,
    SetupNeeded,
    describe,
    describe_refusal,
    is_momentary,
    is_outage,
    is_refusal_to_connect,
    needs_setup,
    refuses_data,
)

GUARANTEES = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
CANARY = "canary-79990001122@example.org"

DATA: list[Exception] = [
    exceptions.UniqueViolationError("duplicate key"),
    exceptions.ForeignKeyViolationError("no such order"),
    exceptions.CheckViolationError("amount"),
    exceptions.NotNullViolationError("null"),
    exceptions.NumericValueOutOfRangeError("too large"),
    exceptions.StringDataRightTruncationError("too long"),
    exceptions.CharacterNotInRepertoireError("NUL"),
    exceptions.UntranslatableCharacterError("no such character"),
    exceptions.DatetimeFieldOverflowError("year 300000"),
    exceptions.InvalidTextRepresentationError("no number"),
    exceptions.ProgramLimitExceededError("index row too large"),
    exceptions.RaiseError("raised by a trigger"),
    exceptions.CardinalityViolationError("two rows in a subquery of a trigger"),
    exceptions.WithCheckOptionViolationError("a view"),
    exceptions.DataError("invalid input for query argument $1"),  # asyncpg's encoder raises this one
]
OUTAGES: list[Exception] = [
    ConnectionRefusedError("refused"),
    ConnectionResetError("reset"),
    BrokenPipeError("broken"),
    OSError("no route to host"),
    TimeoutError("late"),
    ssl.SSLError("handshake"),
    Outage("away"),
    exceptions.ConnectionDoesNotExistError("closed in the middle of operation"),
    exceptions.ConnectionFailureError("lost"),
    exceptions.InterfaceError("connection is closed"),
    exceptions.CannotConnectNowError("starting up"),
    exceptions.AdminShutdownError("terminated"),
    exceptions.CrashShutdownError("crashed"),
    exceptions.TooManyConnectionsError("full"),
    exceptions.DiskFullError("no space left"),
    exceptions.OutOfMemoryError("no memory left"),
    exceptions.ReadOnlySQLTransactionError("read-only"),
    exceptions.LockNotAvailableError("lock timeout"),
    exceptions.QueryCanceledError("statement timeout"),
    exceptions.DeadlockDetectedError("deadlock"),
    exceptions.SerializationError("serialization"),
    exceptions.UndefinedTableError("renamed"),
    exceptions.UndefinedColumnError("older schema"),
    exceptions.InsufficientPrivilegeError("revoked"),
    exceptions.InvalidPasswordError("changed"),
    exceptions.InternalServerError("XX000"),
]
DEFECTS: list[BaseException] = [
    ValueError("x"),
    KeyError("x"),
    TypeError("x"),
    AssertionError("x"),
    RuntimeError("x"),
    asyncio.CancelledError(),
]
UNSETTLED: list[Exception] = [
    exceptions.InternalClientError("got result for unknown protocol state"),
    exceptions.ProtocolError("unexpected message"),
    exceptions.OutdatedSchemaCacheError("the type has changed"),
]


def name_of(error: BaseException) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", DATA, ids=name_of)
def test_an_error_that_blames_the_data_is_no_outage(error: Exception) -> None:
    """Waiting would not help: the culprit becomes a dead letter."""
    assert refuses_data(error)
    assert not is_outage(error)
    assert not is_momentary(error)
    assert not is_refusal_to_connect(error)


@pytest.mark.parametrize("error", OUTAGES, ids=name_of)
def test_an_error_that_blames_the_circumstances_is_an_outage(error: Exception) -> None:
    """No message is lost over it: the same batch is tried again."""
    assert is_outage(error)
    assert not refuses_data(error)


@pytest.mark.parametrize("error", DEFECTS, ids=name_of)
def test_a_defect_of_ours_is_neither(error: BaseException) -> None:
    """It must not be waited out, and no message is to blame."""
    assert not is_outage(error)
    assert not refuses_data(error)
    assert not is_momentary(error)
    assert not is_refusal_to_connect(error)


@pytest.mark.parametrize("error", UNSETTLED, ids=name_of)
def test_a_connection_that_talks_nonsense_is_an_outage(error: Exception) -> None:
    """A stream that was cut, or a schema that moved: another connection will do."""
    assert is_outage(error)
    assert not refuses_data(error)


def test_every_error_of_postgresql_means_exactly_one_thing() -> None:
    """Whatever class of SQLSTATE is yet to come, the writer knows what to do."""
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    found = [kind("x") for kind in kinds if issubclass(kind, exceptions.PostgresError)]
    assert len(found) > 200
    for error in found:
        assert refuses_data(error) != is_outage(error)


def test_only_what_another_transaction_causes_is_tried_again_at_once() -> None:
    """It may be over by the time it is reported, and so is a plan of a table that has changed meanwhile."""
    momentary = {name_of(error) for error in [*DATA, *OUTAGES] if is_momentary(error)}
    assert momentary == {"DeadlockDetectedError", "SerializationError", "LockNotAvailableError"}
    assert is_momentary(exceptions.InvalidCachedStatementError("cached plan must not change result type"))


def test_the_page_of_guarantees_has_the_table_of_the_code() -> None:
    """Each class of SQLSTATE, and each code with a judgement of its own, is in the row of its judgement."""
    rows = re.findall(r"^\| \*\*([a-z-]+)\*\* \| ([0-9A-Z, ]+) \|", GUARANTEES, re.MULTILINE)
    on_page = {code: Judgement(name) for name, codes in rows for code in codes.split(", ")}
    assert on_page == dict(JUDGEMENTS)


def test_every_class_of_sqlstate_that_asyncpg_knows_is_in_the_table() -> None:
    """None is judged by chance."""
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    codes = {kind.sqlstate[:2] for kind in kinds if issubclass(kind, exceptions.PostgresError) and kind.sqlstate}
    assert codes <= JUDGEMENTS.keys()


def raised(error: asyncpg.PostgresError, function: str, **fields: str) -> asyncpg.PostgresError:
    """Return the error with its fields, and with the name of the function in PostgreSQL's source that raised it."""
    error.server_source_function = function  # type: ignore[attr-defined]
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def test_a_missing_partition_is_told_from_a_violated_check() -> None:
    """PostgreSQL gives both the same code: the one names a table and no constraint. A trigger names neither."""
    for function in ("ExecFindPartition", "ExecPartitionCheckEmitError"):
        assert needs_setup(raised(exceptions.CheckViolationError("no partition"), function, table_name="orders"))
    check = exceptions.CheckViolationError("violates")
    assert refuses_data(raised(check, "ExecConstraints", table_name="orders", constraint_name="small"))
    for fields in ({}, {"table_name": "orders"}):
        assert refuses_data(raised(exceptions.CheckViolationError("by a trigger"), "exec_stmt_raise", **fields))


def test_a_code_that_nobody_knows_is_refused_data_only_if_a_function_raised_it() -> None:
    """Else it is waited out."""
    unknown = exceptions.UnknownPostgresError
    for error, data in (
        (raised(unknown("x"), "exec_stmt_raise"), True),
        (raised(unknown("x"), "somewhere_new"), False),
    ):
        error.sqlstate = "MY001"  # type: ignore[misc]
        assert refuses_data(error) == data
        assert is_outage(error) != data


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (exceptions.UndefinedTableError("renamed"), True),
        (exceptions.InsufficientPrivilegeError("revoked"), True),
        (exceptions.FeatureNotSupportedError("COPY FROM with row-level security"), True),
        (SetupNeeded("create a partition"), True),
        (exceptions.DiskFullError("no space left"), False),
        (ConnectionRefusedError("refused"), False),
        (exceptions.UniqueViolationError("duplicate key"), False),
    ],
    ids=name_of,
)
def test_what_somebody_must_change_in_the_database_is_told_from_what_ends_by_itself(
    error: Exception, wanted: bool
) -> None:
    """Both are waited for, and only the one is reported with what to change."""
    assert needs_setup(error) == wanted


@pytest.mark.parametrize(
    "error",
    [
        exceptions.InvalidPasswordError("wrong password"),
        exceptions.InvalidAuthorizationSpecificationError("no such role"),
        exceptions.InvalidCatalogNameError("no such database"),
        exceptions.InsufficientPrivilegeError("not allowed"),
    ],
    ids=name_of,
)
def test_a_server_that_does_not_let_us_in_is_told_from_one_that_is_away(error: Exception) -> None:
    """At start, waiting for it is of no use."""
    assert is_refusal_to_connect(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.CannotConnectNowError("starting up"),
        exceptions.TooManyConnectionsError("full"),
        ConnectionRefusedError("refused"),
        TimeoutError("late"),
    ],
    ids=name_of,
)
def test_a_server_that_is_not_ready_yet_is_worth_waiting_for(error: Exception) -> None:
    """It will let us in later."""
    assert not is_refusal_to_connect(error)


@pytest.mark.parametrize("error", [*DATA, *OUTAGES], ids=name_of)
def test_a_description_quotes_nothing(error: Exception) -> None:
    """PostgreSQL's messages and details quote the row: neither reaches a log."""
    told = type(error)(f"Key (email)=({CANARY})")
    told.detail = f"Failing row contains ({CANARY})"  # type: ignore[attr-defined]
    description = describe(told)
    assert "canary" not in description
    assert description.startswith(name_of(error))
    assert len(description) < 80


def test_a_description_names_the_code_of_postgresql() -> None:
    """It is what one looks up."""
    assert describe(asyncpg.UniqueViolationError("x")) == "UniqueViolationError (23505)"
    assert describe(TimeoutError("x")) == "TimeoutError"


def test_a_refusal_names_what_of_the_schema_refused_and_quotes_nothing() -> None:
    """Table, column and constraint; not the detail or the context, and nothing that is too long for a name."""
    error = asyncpg.CheckViolationError(f"new row violates {CANARY}")
    error.detail, error.where = f"Failing row contains ({CANARY})", f'COPY orders, line 1: "{CANARY}"'
    error.table_name, error.constraint_name = "orders", "no_poison"
    assert describe_refusal(error) == "CheckViolationError (23514): table orders, constraint no_poison"
    error.constraint_name = CANARY * 3
    assert describe_refusal(error) == "CheckViolationError (23514): table orders"
    error.context = f'SQL statement "{CANARY}"\nPL/pgSQL function public.check_all() line 3 at RAISE'
    assert describe_refusal(error) == "CheckViolationError (23514): table orders, function public.check_all"
    error.context = 'COPY orders, line 1: "a uid\nPL/pgSQL function of_a_text() line 3"'
    assert describe_refusal(error) == "CheckViolationError (23514): table orders"
    assert describe_refusal(asyncpg.DataError(CANARY)) == describe(asyncpg.DataError(CANARY))
