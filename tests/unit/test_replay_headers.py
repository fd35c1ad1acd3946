"""A replay is known by its headers, and headers are hostile input: a message is a message whatever they hold."""

import json
from base64 import b64encode
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dead_letters.headers import ReplayHeaders, letter_headers, read_replay_headers, replay_headers
from tests.unit.test_dead_letter_headers import letter

TOPIC = "orders"
GOOD = {
    "x-original-topic": b"orders",
    "x-original-partition": b"2",
    "x-original-offset": b"57",
    "x-replay-count": b"3",
}
GROUPS = {"x-original-group": b"theirs", "x-settled-by-group": b"ours"}
NAMES = [*GOOD, "x-replay-force"]
Headers = list[tuple[str, Any]]


@attrs.frozen
class Message:
    """A record, as far as its headers are concerned."""

    headers: Any
    topic: str = TOPIC
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None


def read(headers: Any) -> ReplayHeaders | None:
    return read_replay_headers(Message(headers), TOPIC)


def test_a_replay_is_recognised() -> None:
    """Which message it repeats, for the how-manieth time, and whether it may replace a newer one."""
    assert read(GOOD.items()) == ReplayHeaders(2, 57, 3, forced=False)
    assert read([*GOOD.items(), ("x-replay-force", b"true")]) == ReplayHeaders(2, 57, 3, forced=True)
    assert read([("trace", b"1"), *GOOD.items(), ("trace", b"2"), ("none", None)]) == ReplayHeaders(2, 57, 3)


@pytest.mark.parametrize(
    ("headers", "theirs", "ours", "others"),
    [
        ({}, "theirs", "ours", "others"),
        ({"x-original-group": b"theirs"}, "theirs", None, None),
        (GROUPS, None, "theirs", None),
        ({"x-settled-by-group": b"ours"}, None, "ours", None),
    ],
)
def test_a_verdict_settles_the_letter_of_the_group_that_is_named(
    headers: dict[str, bytes], theirs: str | None, ours: str | None, others: str | None
) -> None:
    """Each group's own where none is named; in the stead of one that is gone, the one that is named for it."""
    found = read({**GOOD, **headers}.items())
    assert found is not None
    assert [found.settles(group) for group in ("theirs", "ours", "others")] == [theirs, ours, others]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("value", [None, b"", b"a\x00b", b"\xff", b"x" * 2000])
def test_a_group_that_has_no_such_name_makes_it_an_ordinary_message(name: str, value: bytes | None) -> None:
    """PostgreSQL could not be asked for it."""
    assert read({**GOOD, name: value}.items()) is None
    assert read([*{**GOOD, **GROUPS}.items(), (name, b"twice")]) is None


def test_a_letter_sent_back_as_it_is_counts_as_replayed_as_often_as_it_says() -> None:
    """The headers of a dead letter itself name its place; before its first replay they hold no count."""
    assert read(letter_headers(letter([]))) == ReplayHeaders(3, 12_345_678_901, 0)
    assert read(letter_headers(letter([], settled_count=2))) == ReplayHeaders(3, 12_345_678_901, 2)


@pytest.mark.parametrize("headers", [None, (), [], [("trace", b"1")]])
def test_a_message_without_such_headers_is_an_ordinary_one(headers: Any) -> None:
    """With none, or with those of others."""
    assert read(headers) is None


@pytest.mark.parametrize("name", ["x-original-topic", "x-original-partition", "x-original-offset"])
def test_without_its_whole_place_it_is_no_replay(name: str) -> None:
    """Half a place names nothing."""
    assert read([header for header in GOOD.items() if header[0] != name]) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_there_twice_makes_it_an_ordinary_message(name: str) -> None:
    """Nobody can tell which of the two is meant, not even when they are equal."""
    assert read([*{**GOOD, "x-replay-force": b"true"}.items(), (name, GOOD.get(name, b"true"))]) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" 1",
        b"-1",
        b"+1",
        b"1.0",
        b"1e3",
        b"0x1",
        b"1_0",
        b"\xff",
        "１".encode(),
        b"9" * 5000,
        b"TRUE",
        b"yes",
    ],
)
def test_garbage_makes_it_an_ordinary_message(name: str, value: bytes | None) -> None:
    """Signs, spaces, other scripts' digits, numbers beyond all columns: none of them ends a worker."""
    assert read({**GOOD, name: value}.items()) is None


@pytest.mark.parametrize(
    ("name", "highest"),
    [("x-original-partition", 2**31 - 1), ("x-original-offset", 2**63 - 1), ("x-replay-count", 10**6)],
)
def test_numbers_are_bounded_by_what_a_column_holds(name: str, highest: int) -> None:
    """The highest is allowed, the next one is not."""
    assert read({**GOOD, name: str(highest).encode()}.items()) is not None
    assert read({**GOOD, name: str(highest + 1).encode()}.items()) is None


def test_the_topic_is_the_one_that_is_consumed() -> None:
    """A letter of another topic has its place there."""
    assert read_replay_headers(Message(GOOD.items()), "other") is None


_ANY_VALUE = st.one_of(st.none(), st.binary(max_size=30), st.integers().map(lambda number: str(number).encode()))


@given(headers=st.lists(st.tuples(st.sampled_from([*NAMES, *GROUPS, "other"]), _ANY_VALUE), max_size=8))
def test_no_headers_raise(headers: Headers) -> None:
    """What is taken for a replay has a place that PostgreSQL can be asked for."""
    found = read(headers)
    if found is not None:
        assert 0 <= found.partition < 2**31
        assert 0 <= found.offset < 2**63
        assert 0 <= found.count <= 10**6


@given(
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    count=st.integers(0, 10**6 - 1),
    forced=st.booleans(),
    settled_by=st.none() | st.just("ours"),
    own=st.lists(st.tuples(st.sampled_from([*NAMES, *GROUPS, "trace", "Ключ"]), st.binary(max_size=5)), max_size=8),
)
def test_what_a_replay_writes_is_read_back(
    partition: int, offset: int, count: int, forced: bool, settled_by: str | None, own: Headers
) -> None:
    """One replay more than before, whatever headers of these names the original message brought with it."""
    stored = json.dumps([[name, b64encode(value).decode()] for name, value in own])
    row = letter([], partition=partition, kafka_offset=offset, replay_count=count, headers=stored)
    headers = replay_headers(row, forced=forced, settled_by=settled_by)
    assert read(headers) == ReplayHeaders(partition, offset, count + 1, forced, "a group", settled_by)
    ours = {*NAMES, *GROUPS}
    assert [header for header in headers if header[0] not in ours] == [one for one in own if one[0] not in ours]
