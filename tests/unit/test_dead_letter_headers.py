"""A dead letter's headers say where it came from and which fields are at fault: in few bytes, without personal data."""

import json
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dead_letters.headers import FIELDS_HEADER_BYTES, decode_headers, letter_headers
from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.times import parse_time
from orderflow.publishing.orders import OrderGenerator

FAILED_AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = [
    "x-original-topic",
    "x-original-partition",
    "x-original-offset",
    "x-failure-reason",
    "x-failure-fields",
    "x-failed-at",
]


def letter(errors: list[dict[str, str]], **changes: Any) -> dict[str, Any]:
    """Return a row of `dead_letters`, as far as the headers need it."""
    return {
        "consumer_group": "a group",
        "topic": "orders",
        "partition": 3,
        "kafka_offset": 12_345_678_901,
        "reason": "invalid_order",
        "errors": json.dumps(errors),
        "failed_at": FAILED_AT,
        "replay_count": 0,
        "settled_count": 0,
        "headers": "[]",
        **changes,
    }


def letter_of(verdict: Rejected) -> dict[str, Any]:
    return letter([attrs.asdict(error) for error in verdict.errors], reason=verdict.reason)


def fields_of(*paths: str) -> bytes:
    return dict(letter_headers(letter([{"path": path, "message": "is wrong"} for path in paths])))["x-failure-fields"]


def test_the_headers_are_those_of_the_contract() -> None:
    """Each once, each with bytes that a person can read."""
    headers = letter_headers(letter([{"path": "items[0].price", "message": "is required"}]))
    assert headers == [
        ("x-original-topic", b"orders"),
        ("x-original-partition", b"3"),
        ("x-original-offset", b"12345678901"),
        ("x-failure-reason", b"invalid_order"),
        ("x-failure-fields", b"items[0].price"),
        ("x-failed-at", b"2026-01-31T12:00:00.123456Z"),
    ]
    assert [name for name, _ in headers] == NAMES


def test_a_letter_that_a_replay_brought_back_says_which_one() -> None:
    """One more header than the contract's; a replay that is still on its way does not count."""
    again = letter_headers(letter([], settled_count=1, replay_count=2))
    assert [name for name, _ in again] == [*NAMES, "x-replay-count"]
    assert again[-1] == ("x-replay-count", b"1")


@pytest.mark.parametrize("failed_at", [FAILED_AT, FAILED_AT.replace(microsecond=0)])
def test_the_time_of_the_failure_is_rfc_3339(failed_at: datetime) -> None:
    """With a zone, with or without a fraction."""
    assert parse_time(dict(letter_headers(letter([], failed_at=failed_at)))["x-failed-at"].decode()) == failed_at


def test_paths_are_joined_by_commas_in_the_order_of_the_errors() -> None:
    """Where the whole message is at fault there is no path to name."""
    assert fields_of("entry", "delivery.phone", "items[1].price") == b"entry,delivery.phone,items[1].price"
    assert fields_of("") == b""
    assert fields_of("", "entry") == b"entry"
    assert fields_of() == b""


def test_paths_that_just_fit_are_all_there() -> None:
    """The limit itself is allowed."""
    assert fields_of("a" * 2000, "b" * 2095) == b"a" * 2000 + b"," + b"b" * 2095
    assert len(fields_of("a" * 2000, "b" * 2095)) == FIELDS_HEADER_BYTES == 4096


def test_paths_that_do_not_fit_are_cut_between_two_and_said_so() -> None:
    """Never within a path: half a path would name another field."""
    assert fields_of("a" * 2000, "b" * 2096) == b"a" * 2000 + ",…".encode()
    assert fields_of("a" * 5000) == "…".encode()


@given(
    paths=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=","), max_size=600), max_size=60)
)
def test_the_fields_never_exceed_their_limit(paths: list[str]) -> None:
    """Valid UTF-8, whole paths from the first on, and as many as there is room for."""
    named = list(dict.fromkeys(path for path in paths if path))
    value = fields_of(*paths)
    assert len(value) <= FIELDS_HEADER_BYTES
    told = value.decode().split(",") if value else []
    if told != named:
        assert told[-1] == "…"
        kept = len(told) - 1
        assert told[:-1] == named[:kept]
        assert len(",".join([*named[: kept + 1], "…"]).encode()) > FIELDS_HEADER_BYTES


CANARY = "canary-79990001122@example.org"


def hostile_messages() -> list[bytes]:
    order = OrderGenerator(1).order()
    many = [{CANARY: CANARY, "rid": [CANARY], "price": CANARY} for _ in range(300)]
    delivery = {name: [CANARY] for name in order["delivery"]}
    return [
        json.dumps({**order, "delivery": delivery, CANARY: CANARY}).encode(),
        json.dumps({**order, "items": many}).encode(),
        json.dumps({**order, "date_created": CANARY, "entry": {CANARY: CANARY}}).encode(),
        json.dumps({**order, "locale": f"{CANARY}\x00", "customer_id": CANARY * 50}).encode(),
        json.dumps({CANARY: CANARY}).encode(),
        json.dumps([CANARY]).encode(),
        CANARY.encode(),
        json.dumps(order).encode()[:-1] + CANARY.encode(),
    ]


@pytest.mark.parametrize("message", hostile_messages(), ids=range(8))
def test_no_header_holds_what_the_message_held(message: bytes) -> None:
    """Not a value, and not a name that the message made up."""
    verdict = decode_order(message)
    assert isinstance(verdict, Rejected)
    headers = letter_headers(letter_of(verdict))
    assert [name for name, _ in headers] == NAMES
    for _, value in headers:
        assert b"canary" not in value
        assert b"7999" not in value
        assert len(value) <= FIELDS_HEADER_BYTES
        value.decode()


def test_a_hundred_errors_are_told_within_the_limit() -> None:
    """The longest list of paths that the decoder makes."""
    verdict = decode_order(hostile_messages()[1])
    assert isinstance(verdict, Rejected)
    fields = dict(letter_headers(letter_of(verdict)))["x-failure-fields"].decode().split(",")
    assert fields[0].startswith("items[0]")
    assert len(fields) > 50


def test_the_original_headers_come_back_as_they_were_stored() -> None:
    """Their values are any bytes, hence base64 in the column."""
    stored = json.dumps([["trace", "AP8="], ["empty", ""], ["trace", "eA=="]])
    assert decode_headers(stored) == [("trace", b"\x00\xff"), ("empty", b""), ("trace", b"x")]
