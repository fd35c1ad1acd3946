"""What libraries log is passed on, without what could quote data, and without the flood that an outage makes of it."""

import logging

from aiokafka.errors import GroupCoordinatorNotAvailableError
from structlog.testing import capture_logs

from engine.telemetry.logs import MAX_KINDS, QUIET_S, LibraryHandler


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def say(handler: LibraryHandler, template: str, *arguments: object, name: str = "aiokafka") -> None:
    handler.emit(logging.LogRecord(name, logging.ERROR, __file__, 1, template, arguments, None))


def test_the_same_again_and_again_is_written_once_and_counted() -> None:
    """The next one of a kind that is written says how many were left out, whatever they were about."""
    clock = Clock()
    handler = LibraryHandler(clock)
    with capture_logs() as lines:
        for attempt in range(100):
            say(handler, "no connection to %s", attempt)
        say(handler, "no metadata")
        clock.now_s = QUIET_S
        say(handler, "no connection to %s", 100)
    assert [(line["message"], line["left_out"]) for line in lines] == [
        ("no connection to 0", 0),
        ("no metadata", 0),
        ("no connection to 100", 99),
    ]
    assert {line["log_level"] for line in lines} == {"error"}


def test_each_library_speaks_for_itself() -> None:
    """The same words from somebody else are news."""
    handler = LibraryHandler(Clock())
    with capture_logs() as lines:
        say(handler, "closed", name="one")
        say(handler, "closed", name="other")
    assert [line["library"] for line in lines] == ["one", "other"]


def test_kinds_without_number_take_no_memory_without_bound() -> None:
    """A library that puts its data into the template makes each line a kind of its own."""
    handler = LibraryHandler(Clock())
    with capture_logs() as lines:
        for number in range(3 * MAX_KINDS):
            say(handler, f"text {number}")
        assert len(handler._quiet_until) <= MAX_KINDS
    assert len(lines) == 3 * MAX_KINDS


def test_a_group_coordinator_that_is_not_there_yet_is_no_error_at_first() -> None:
    """Only when it lasts, each time anew; another error of the same kind of line is one at once."""
    clock = Clock()
    handler = LibraryHandler(clock)
    with capture_logs() as lines:
        for now_s in (0, 1, QUIET_S, 100 * QUIET_S):
            clock.now_s = now_s
            say(handler, "Group Coordinator Request failed: %s", GroupCoordinatorNotAvailableError())
        say(handler, "Group Coordinator Request failed: %s", ConnectionError())
    assert [line["log_level"] for line in lines] == ["info", "error", "info", "error"]
