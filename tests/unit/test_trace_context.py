"""A traceparent is taken only if it is valid by W3C Trace Context, version 00; anything else is as if not there."""

import re
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.telemetry.trace_context import (
    is_sampled,
    is_tracestate,
    new_traceparent,
    parent_id_of,
    parse_traceparent,
    trace_headers,
    trace_id_of,
    traceparent_of,
)

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{PARENT_ID}-01"


@attrs.frozen
class Record:
    headers: Any
    topic: str = "a-topic"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=count, max_size=count)


@given(digits(32), digits(16), digits(2))
def test_what_is_built_by_the_rules_is_taken_as_it_is(trace_id: str, parent_id: str, flags: str) -> None:
    """Unless an id is all zeros. Bytes and text are alike, and the parts are found again."""
    text = f"00-{trace_id}-{parent_id}-{flags}"
    taken = parse_traceparent(text)
    assert parse_traceparent(text.encode()) == taken
    if set(trace_id) == {"0"} or set(parent_id) == {"0"}:
        assert taken is None
        return
    assert taken == text
    assert (trace_id_of(taken), parent_id_of(taken)) == (trace_id, parent_id)
    assert is_sampled(taken) == (int(flags, 16) % 2 == 1)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@example(VALID.upper())
@example(VALID + "\n")
@example(f"00-{TRACE_ID}-{PARENT_ID}-0１")
@example(f"01-{TRACE_ID}-{PARENT_ID}-01")
@example(f"00-{'0' * 32}-{PARENT_ID}-01")
@example(f"00-{TRACE_ID}-{'0' * 16}-01")
def test_whatever_else_arrives_is_ignored(value: str | bytes) -> None:
    """Never an error, and never anything but hexadecimal digits in a log."""
    taken = parse_traceparent(value)
    assert taken is None or re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", taken, re.ASCII)


@given(st.integers(0, 54), st.characters(codec="utf-8"))
def test_one_wrong_character_is_enough(position: int, character: str) -> None:
    """Whichever it is and wherever it stands."""
    changed = VALID[:position] + character + VALID[position + 1 :]
    fitting = changed == VALID or (VALID[position] != "-" and position > 1 and character in "0123456789abcdef")
    assert parse_traceparent(changed) == (changed if fitting else None)


@pytest.mark.parametrize("headers", [None, (), (("traceparent", None),), (("Traceparent", VALID.encode()),)])
def test_a_record_without_one_has_none(headers: Any) -> None:
    """Kafka's header names are compared as they are, and a header may have no value."""
    assert traceparent_of(Record(headers)) is None


def test_the_last_header_of_the_name_counts() -> None:
    """Whoever passes a message on appends its own."""
    other = new_traceparent()
    headers = [("traceparent", VALID.encode()), ("x", b"y"), ("traceparent", other.encode())]
    assert traceparent_of(Record(headers)) == other
    assert is_sampled(other)


def test_a_trace_is_passed_on_without_anything_else() -> None:
    """The state goes along only with a valid traceparent, and only if it is well formed and short."""
    traceparent = ("traceparent", VALID.encode())
    state = ("tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert trace_headers([("x-customer", b"A Name"), state, traceparent]) == [traceparent, state]
    assert trace_headers([state, ("traceparent", b"00-broken")]) == []
    for bad in (b"", b"no value", b"a=" + b"x" * 600, "a=é".encode(), b"a=b\x00"):
        assert trace_headers([traceparent, ("tracestate", bad)]) == [traceparent]


def test_a_tracestate_is_judged_in_time() -> None:
    """What makes a pattern try for ever where it may split blanks in several ways is judged like the rest."""
    assert not is_tracestate(b"a=b" + b" , " * 160 + b"!")
    assert not is_tracestate(b"a=" + b" " * 500 + b"\x00")
    assert is_tracestate(b"a=b" + b" , " * 160 + b"a@b=c d")
