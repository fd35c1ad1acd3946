"""The line that is written without structlog equals the one that structlog writes."""

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from engine.telemetry.frequent_line import FrequentLine
from engine.telemetry.logs import configure_logging

EVENT = "http_request"
FIELDS = {"method": "GET", "status": 200, "duration_ms": 1.5, "order_uid": 'ж"\\', "x_cache": "hit"}


class Log:
    """The log of the process, written to memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._written = io.BytesIO()
        self._stderr = io.TextIOWrapper(self._written, write_through=True)

    def configure(self, level: str = "info", **options: Any) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", self._stderr)
            configure_logging(level, **options)

    def lines(self) -> list[bytes]:
        """Return the lines since the last call."""
        written = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return written.splitlines()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Provide a log, and leave structlog as it was."""
    before = structlog.get_config()
    yield Log(monkeypatch)
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def without_time(line: bytes) -> bytes:
    begin, time = b'{"time":"', json.loads(line)["time"].encode()
    assert line.startswith(begin + time)
    assert time.endswith(b"Z")
    return line.replace(time, b"", 1)


values = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
)
names = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda name: (
        name
        not in {"time", "level", "event", "component", "worker", "host", "supervisor", "self", "exc_info", "stack_info"}
    )
)


@pytest.mark.parametrize("context", [{}, {"component": "http", "worker": "http-1"}])
def test_it_equals_structlog_s_to_the_byte(log: Log, context: dict[str, str]) -> None:
    """The order of the names included; only the time is another."""
    log.configure(deferred=True, **context)
    frequent, structlogs = FrequentLine(EVENT), structlog.get_logger()

    @given(st.dictionaries(names, values, min_size=1))
    def compare(fields: dict[str, object]) -> None:
        frequent.write(fields)
        structlogs.info(EVENT, **fields)
        ours, theirs = log.lines()
        assert without_time(ours) == without_time(theirs)

    compare()


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 1), ("warning", 0), ("error", 0)])
def test_the_level_decides_whether_it_is_written(log: Log, level: str, lines: int) -> None:
    log.configure(level, deferred=True)
    FrequentLine(EVENT).write(dict(FIELDS))
    assert len(log.lines()) == lines


@pytest.mark.parametrize("options", [{"console": True}, {"console": True, "deferred": True}, {}])
def test_where_the_log_has_another_form_structlog_writes_it(log: Log, options: dict[str, bool]) -> None:
    log.configure(**options)
    FrequentLine(EVENT).write(dict(FIELDS))
    [line] = log.lines()
    assert EVENT.encode() in line


def test_lines_for_people_do_not_move_the_cursor(log: Log) -> None:
    """A uid comes from a message, and may hold whatever a terminal obeys."""
    log.configure(console=True)
    structlog.get_logger().info("order_rejected", order_uid="odd\x1b[2J", order_uids=["b\u202ec"])
    [line] = log.lines()
    assert line.decode().strip().isprintable()
    assert rb"odd\x1b[2J" in line


def test_a_test_that_captures_lines_captures_it(log: Log) -> None:
    log.configure(deferred=True)
    line = FrequentLine(EVENT)
    line.write(dict(FIELDS))
    with capture_logs() as captured:
        line.write(dict(FIELDS))
    assert captured == [{"event": EVENT, "log_level": "info", **FIELDS}]
    assert len(log.lines()) == 1


def test_a_second_set_up_is_followed(log: Log) -> None:
    """A process may set its log up again: the context of the line is the newest."""
    line = FrequentLine(EVENT)
    for worker in ("http-1", "http-2"):
        log.configure(deferred=True, worker=worker)
        line.write(dict(FIELDS))
    assert [json.loads(line)["worker"] for line in log.lines()] == ["http-1", "http-2"]
