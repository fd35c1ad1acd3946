"""What an error of PostgreSQL means: refused data is bisected, an outage is waited out, a defect ends the worker."""

import asyncio
import ssl

import asyncpg
import pytest
from asyncpg import exceptions

from engine.postgres.errors import (
    Outage,
    describe,
    describe_refusal,
    is_momentary,
    is_outage,
    is_refusal_to_connect,
    refuses_data,
)

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


def test_only_deadlocks_and_serialization_failures_are_tried_again_at_once() -> None:
    """They are over by the time they are reported."""
    momentary = {name_of(error) for error in [*DATA, *OUTAGES] if is_momentary(error)}
    assert momentary == {"DeadlockDetectedError", "SerializationError"}


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
    assert describe_refusal(asyncpg.DataError(CANARY)) == describe(asyncpg.DataError(CANARY))
