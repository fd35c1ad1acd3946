"""Messages that are no orders, among those that are."""

import asyncpg
import attrs
import pytest
from msgspec import json

from engine.verdict import Rejected
from handlers.decode import decode_order
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Ledger, Sent
from tests.support.bad_messages import (
    ABSENT,
    ITEM,
    NOT_AN_OBJECT,
    NOT_JSON,
    ORDER,
    WHOLE,
    order_with,
    with_city,
    with_unknown,
)
from tests.support.eventually import eventually
from tests.support.odd_headers import Record, send_odd
from tests.support.programs import Programs
from tests.support.topic import length, receive

PARTITION = 2
MEGABYTE = 1_000_000
FIELDS_HEADER_BYTES = 4096

MAY_BE_ABSENT = {"internal_signature", "delivery_service", "shardkey", "sm_id", "oof_shard"}
NOTHING: dict[str, bytes | None] = {"no value": None, "neither key nor value": None, "an empty value": b""}
NO_ORDER: dict[str, tuple[bytes, list[str]]] = {
    "wrong types everywhere": (
        order_with(
            ("entry", 5),
            ("locale", None),
            ("sm_id", "9"),
            ("delivery.email", ["x"]),
            ("delivery.phone", ABSENT),
            ("payment.payment_dt", True),
            ("items", [{**ITEM, "price": 1.5}, 7]),
        ),
        [
            "delivery.email",
            "delivery.phone",
            "entry",
            "items[0].price",
            "items[1]",
            "locale",
            "payment.payment_dt",
            "sm_id",
        ],
    ),
    "parts of another type": (order_with(("delivery", "x"), ("payment", [])), ["delivery", "payment"]),
    "NUL": (order_with(("delivery.city", "a\x00b")), ["delivery.city"]),
    "a NUL that is escaped": (with_city(rb'"a\u0000b"'), ["delivery.city"]),
    "half a surrogate pair": (with_city(rb'"\ud800"'), ["delivery.city"]),
    "a uid with half a surrogate pair": (WHOLE.replace(b'"b563', rb'"\ud800'), ["order_uid", "payment.transaction"]),
    "an integer of 65 bits": (order_with(("items[0].nm_id", 2**64)), ["items[0].nm_id"]),
    "an integer of 4,000 digits": (order_with(("sm_id", int("9" * 4000))), ["sm_id"]),
    "an integer of 5,000 digits": (WHOLE.replace(b'"sm_id": 99', b'"sm_id": ' + b"9" * 5000), ["sm_id"]),
    "a number beyond all bounds": (WHOLE.replace(b'"sm_id": 99', b'"sm_id": 1e400'), ["sm_id"]),
    "a uid of a megabyte": (order_with(("order_uid", "x" * MEGABYTE)), ["order_uid"]),
    "a key of a megabyte": (order_with(("items[0].rid", "ж" * (MEGABYTE // 2))), ["items[0].rid"]),
    "a name given twice, wrong at last": (WHOLE[:-1] + b', "entry": 5}', ["entry"]),
    "nothing in it": (b"{}", sorted(ORDER.keys() - MAY_BE_ABSENT)),
    "10,000 empty items": (order_with(("items", [{}] * 10_000)), []),
}
"""Objects that are no orders, and the paths of all that is wrong with each; none are given where there are hundreds."""
ODD_ORDERS = {
    "a city of a megabyte": order_with(("delivery.city", "x" * MEGABYTE)),
    "a name given twice, right at last": b'{"entry": 5, ' + WHOLE[1:],
    "white space around": b" \r\n\t" + WHOLE + b"\n",
    "half a surrogate pair in an unknown field": with_unknown(rb'"\ud800"'),
    "a number beyond all bounds in an unknown field": with_unknown(b"1e400"),
}
"""Orders that look bad, and are good."""
KEYS = [None, b"", b"\x00\xff\xfe", b"another-order", b"k" * 100_000]
HEADERS: list[list[tuple[bytes, bytes | None]]] = [
    [],
    [(b"", None), (b"", b"")],
    [(b"\xff\xfe", b"\xff"), (b"a\x00b", b"\x00")],
    [(b"x-original-topic", b"\xff"), (b"x-original-offset", b"-1"), (b"x-failure-reason", b"\n")],
    [(b"x-replay-count", b"99999999999999999999"), (b"x-original-partition", b"0"), (b"x-original-offset", b"9" * 19)],
    [(b"trace", b"t" * 10_000)] * 5,
    [(f"name-{number}".encode(), b"") for number in range(500)],
]


@attrs.frozen
class Letter:
    """A dead letter as it must come to be."""

    name: str
    key: bytes | None
    value: bytes | None
    verdict: Rejected


def bad_messages() -> dict[str, bytes | None]:
    return {**NOTHING, **NOT_JSON, **NOT_AN_OBJECT, **{name: value for name, (value, _) in NO_ORDER.items()}}


class Saboteur:
    """Sends bad messages, each between two good ones, and keeps book of what must become of them."""

    def __init__(self, fault_run: FaultRun, ledger: Ledger) -> None:
        self._random = fault_run.random
        self._settings = fault_run.settings
        self._generator = OrderGenerator(seed=22)
        self._ledger = ledger
        self._odd = dict(ODD_ORDERS)
        self.letters: dict[int, Letter] = {}

    async def send_all(self) -> None:
        """Send every bad message once, in any order."""
        bad = list(bad_messages().items())
        self._random.shuffle(bad)
        for name, value in bad:
            await self._send_good()
            key, offset = await self._send(value, KEYS[:1] if name == "neither key nor value" else KEYS)
            verdict = decode_order(value)
            assert isinstance(verdict, Rejected)
            self.letters[offset] = Letter(name, key, value, verdict)
            self._ledger.sent.append(Sent(f"{name} {offset}", 0, PARTITION, offset))
        await self._send_good()

    async def _send_good(self) -> None:
        order = self._generator.order()
        uid, value, version = order["order_uid"], json.encode(order), order["sm_id"]
        if self._odd:
            _, odd = self._odd.popitem()
            value, version = odd.replace(ORDER["order_uid"].encode(), uid.encode()), ORDER["sm_id"]
        _, offset = await self._send(value, KEYS)
        self._ledger.sent.append(Sent(uid, version, PARTITION, offset))

    async def _send(self, value: bytes | None, keys: list[bytes | None]) -> tuple[bytes | None, int]:
        small = len(value or b"") < MEGABYTE  # or else key and headers would make it too large for the topic
        key, headers = (self._random.choice(keys), self._random.choice(HEADERS)) if small else (None, [])
        record: Record = (key, value, headers)
        return key, await send_odd(self._settings, [record], PARTITION)


@pytest.mark.fault("22", "bad bytes of every kind, between good orders")
async def test_bad_messages_become_dead_letters_and_nothing_else(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each is one dead letter with all its reasons, its neighbours land, and the same workers live through it."""
    ledger = fault_run.ledger()
    saboteur = Saboteur(fault_run, ledger)
    await saboteur.send_all()  # a backlog: good and bad come in large batches
    engine = await all_open(orderflow)
    workers = worker_pids(engine)

    report = await fault_run.under_load(saboteur.send_all, ledger=ledger, messages=3000, per_second=300)
    fault_run.remark = f"{len(saboteur.letters)} bad messages of {len(bad_messages())} kinds"
    assert report.violations == []
    await check_table(database, saboteur.letters)
    await check_topic(settings, database, saboteur.letters)
    assert worker_pids(engine) == workers
    assert await engine.stop() == 0


async def check_table(database: asyncpg.Connection, letters: dict[int, Letter]) -> None:
    """Each bad message is in the table, as it came, with every reason."""
    rows = await database.fetch("SELECT * FROM dead_letters WHERE partition = $1", PARTITION)
    found = {row["kafka_offset"]: row for row in rows}
    for offset, letter in letters.items():
        row = found[offset]
        errors = [(error["path"], error["message"]) for error in json.decode(row["errors"])]
        assert (row["key"], row["payload"]) == (letter.key, letter.value), letter.name
        assert (row["reason"], row["subject"]) == (letter.verdict.reason, letter.verdict.subject), letter.name
        assert errors == [(error.path, error.message) for error in letter.verdict.errors], letter.name
        paths = sorted({path for path, _ in errors if path})
        assert paths == (NO_ORDER.get(letter.name, (b"", []))[1] or paths), letter.name
        assert bool(paths) == (letter.name in NO_ORDER), letter.name


async def check_topic(settings: Settings, database: asyncpg.Connection, letters: dict[int, Letter]) -> None:
    """Each dead letter is in the dead-letter topic once, as it came, with its reason and its paths."""
    waiting = "SELECT count(*) FROM dead_letters WHERE published_at IS NULL"
    await eventually(lambda: database.fetchval(waiting), lambda count: count == 0)
    total = await database.fetchval("SELECT count(*) FROM dead_letters")
    assert await length(settings, settings.kafka_dlq_topic) == total
    published = {}
    for record in await receive(settings, settings.kafka_dlq_topic, total):
        headers = dict(record.headers)
        if headers["x-original-partition"] == str(PARTITION).encode():
            published[int(headers["x-original-offset"])] = (record, headers)
    for offset, letter in letters.items():
        record, headers = published[offset]
        assert (record.key, record.value) == (letter.key, letter.value), letter.name
        assert headers["x-failure-reason"].decode() == letter.verdict.reason, letter.name
        paths = list(dict.fromkeys(error.path for error in letter.verdict.errors if error.path))
        fields = headers["x-failure-fields"]
        assert len(fields) <= FIELDS_HEADER_BYTES
        assert fields.decode() == ",".join(paths) or fields.decode().endswith("…"), letter.name
