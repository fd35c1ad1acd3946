"""Every order leaves its uid in the log, with batch, partition and offset, and nothing about the person."""

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

import attrs
import pytest
from structlog.testing import capture_logs

from engine.records import Batch, Entry, Written
from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.events import BATCH_COMMITTED, ORDER_REJECTED, ORDERS_COMMITTED
from handlers.model import Order
from handlers.order_log import ORDERS_A_LINE, log_batch
from handlers.prepared import PreparedOrder, prepare
from orderflow.publishing.orders import OrderGenerator

BATCH_ID = UUID("00000000-0000-4000-8000-000000000001")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = {
    "name": "Canary Personova",
    "phone": "+79990001122",
    "zip": "999112",
    "city": "Canaryville",
    "address": "Canary Street 99",
    "region": "Canary Islands",
    "email": "canary@example.org",
}


@attrs.frozen
class Record:
    """As much of a Kafka record as the log looks at."""

    partition: int
    offset: int
    value: bytes
    key: bytes | None = None
    topic: str = "orders"
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def handled(record: Record) -> Entry[PreparedOrder]:
    order = decode_order(record.value)
    return Entry(record, prepare(order) if isinstance(order, Order) else order)


def documents(count: int) -> list[dict[str, Any]]:
    return [{**document, "delivery": CANARY} for document in islice(OrderGenerator(7), count)]


def batch_of(entries: list[Entry[PreparedOrder]]) -> Batch[PreparedOrder]:
    return Batch(BATCH_ID, "orders", NOW, NOW, entries, {0: 0, 1: 0})


def logged(batch: Batch[PreparedOrder], written: Written | None = None) -> list[Any]:
    with capture_logs() as lines:
        log_batch(batch, written or Written())
    return list(lines)


@pytest.fixture(scope="module")
def batch() -> Batch[PreparedOrder]:
    """250 orders over two partitions; every tenth of them is refused."""
    entries = []
    for number, document in enumerate(documents(250)):
        spoiled = {**document, "entry": ""} if number % 10 == 5 else document
        partition = 0 if number < 130 else 1
        offset = 1000 * (partition + 1) + 2 * number
        entries.append(handled(Record(partition, offset, json.dumps(spoiled).encode())))
    return batch_of(entries)


def uid_of(entry: Entry[PreparedOrder]) -> str:
    uid = entry.value.subject if isinstance(entry.value, Rejected) else entry.value.order_uid
    assert uid is not None
    return uid


def test_every_uid_is_in_exactly_one_line(batch: Batch[PreparedOrder]) -> None:
    """Accepted or refused, none is missing and none is told twice."""
    told = []
    for line in logged(batch):
        told += line.get("order_uids", [])
        told += [line["order_uid"]] if "order_uid" in line else []
    assert sorted(told) == sorted(uid_of(entry) for entry in batch.entries)
    assert len(set(told)) == 250


def test_a_line_names_the_place_of_its_orders(batch: Batch[PreparedOrder]) -> None:
    """One partition a line; the offsets of its first and last order; never more than a hundred orders."""
    place = {uid_of(entry): (entry.record.partition, entry.record.offset) for entry in batch.entries}
    lines = [line for line in logged(batch) if line["event"] == ORDERS_COMMITTED]
    assert [len(line["order_uids"]) for line in lines] == [100, 17, 100, 8]
    for line in lines:
        uids = line["order_uids"]
        assert line["log_level"] == "info"
        assert (line["batch_id"], line["topic"]) == (str(BATCH_ID), "orders")
        assert {place[uid][0] for uid in uids} == {line["partition"]}
        offsets = [place[uid][1] for uid in uids]
        assert offsets == sorted(offsets)
        assert (line["offset"], line["last_offset"]) == (offsets[0], offsets[-1])


def test_a_refused_order_has_a_line_of_its_own(batch: Batch[PreparedOrder]) -> None:
    """With its place, the reason, and the fields at fault."""
    lines = [line for line in logged(batch) if line["event"] == ORDER_REJECTED]
    refused = [entry for entry in batch.entries if isinstance(entry.value, Rejected)]
    assert len(lines) == len(refused) == 25
    for line, entry in zip(lines, refused, strict=True):
        assert line == {
            "event": ORDER_REJECTED,
            "log_level": "warning",
            "batch_id": str(BATCH_ID),
            "topic": "orders",
            "partition": entry.record.partition,
            "offset": entry.record.offset,
            "order_uid": uid_of(entry),
            "reason": "invalid_order",
            "fields": ["entry"],
        }


def test_a_message_without_a_readable_uid_is_told_by_its_place() -> None:
    """There is nothing else to call it by."""
    [line, _] = logged(batch_of([handled(Record(1, 42, b"no JSON"))]))
    assert (line["order_uid"], line["partition"], line["offset"], line["reason"]) == (None, 1, 42, "invalid_json")


def test_a_batch_has_one_line_with_its_counts(batch: Batch[PreparedOrder]) -> None:
    """At the end, when everything else has been told."""
    lines = logged(batch, Written(inserted=200, changed=20, unchanged=5))
    assert [line["event"] for line in lines].count(BATCH_COMMITTED) == 1
    assert lines[-1] == {
        "event": BATCH_COMMITTED,
        "log_level": "info",
        "batch_id": str(BATCH_ID),
        "topic": "orders",
        "messages": 250,
        "inserted": 200,
        "changed": 20,
        "unchanged": 5,
        "rejected": 25,
    }


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (ORDERS_A_LINE, 1), (ORDERS_A_LINE + 1, 2)])
def test_a_line_holds_up_to_a_hundred_orders(count: int, lines: int) -> None:
    """And as few lines as that allows."""
    entries = [handled(Record(0, at, json.dumps(one).encode())) for at, one in enumerate(documents(count))]
    assert len(logged(batch_of(entries))) == lines + 1


def test_nothing_about_the_person_is_logged(batch: Batch[PreparedOrder]) -> None:
    """Not of an accepted order, and not of a refused one, whatever is wrong with it."""
    spoiled = [
        {**document, "delivery": {**CANARY, field: [value]}, field: value, "date_created": value}
        for document, (field, value) in zip(documents(7), CANARY.items(), strict=True)
    ]
    refused = [handled(Record(0, at, json.dumps(one).encode())) for at, one in enumerate(spoiled)]
    assert all(isinstance(entry.value, Rejected) for entry in refused)
    told = repr(logged(batch) + logged(batch_of(refused)))
    for value in CANARY.values():
        assert value not in told
    assert "canary" not in told.lower()


def test_traces_stand_beside_their_uids_and_only_where_there_are_some() -> None:
    """A line of untraced orders has no such field; what is no traceparent, whatever it holds, is never logged."""
    named = {
        0: f"00-{'a' * 32}-{'b' * 16}-00".encode(),
        1: b"00-" + CANARY["email"].encode() + b"-01",
        2: f"00-{'c' * 32}-{'d' * 16}-01".encode(),
    }
    entries = [
        handled(
            Record(
                0,
                offset,
                json.dumps(document).encode(),
                headers=(("traceparent", named[offset]),) if offset in named else (),
            )
        )
        for offset, document in enumerate(documents(ORDERS_A_LINE + 2))
    ]
    rejected = Record(0, 999, b"{}", headers=(("traceparent", named[0]),))
    lines = logged(batch_of([*entries, handled(rejected)]))
    first, second = [line for line in lines if line["event"] == ORDERS_COMMITTED]
    assert first["trace_ids"] == ["a" * 32, None, "c" * 32, *[None] * (ORDERS_A_LINE - 3)]
    assert len(first["order_uids"]) == len(first["trace_ids"])
    assert "trace_ids" not in second
    [line] = [line for line in lines if line["event"] == ORDER_REJECTED]
    assert line["trace_id"] == "a" * 32
