"""Data that looks well and that PostgreSQL refuses all the same: only what is refused becomes a dead letter."""

from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest
from msgspec import json

from engine.stages.source import CHUNK_RECORDS
from engine.verdict import REFUSED_BY_DATABASE
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.engines import drain, started
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Ledger, Sent
from tests.support.eventually import eventually
from tests.support.programs import Programs
from tests.support.topic import send

BATCH = 200
POISONED = {0: [0], 1: [BATCH // 2], 2: [BATCH - 1], 3: [BATCH // 4, 3 * BATCH // 4]}
"""By partition, the places in its first batch that are poisoned: the first, the middle, the last, and two."""
POISON = "poison"
AT_THE_COPY = f"ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (entry <> '{POISON}')"
AT_THE_COMMIT = f"""
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.entry = '{POISON}' THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER no_poison AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""
# Small batches share a row of batches: what was written at once, only the transactions themselves tell. What is rolled
# back, as each search is, leaves no note.
_NOTE_TRANSACTIONS = """
CREATE TABLE pieces (partition integer, first integer, last integer);
CREATE FUNCTION note_piece() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pieces VALUES (NEW.partition, OLD.next_offset, NEW.next_offset - 1);
    RETURN NULL;
END $$;
CREATE TRIGGER note_piece AFTER UPDATE ON consumed_offsets FOR EACH ROW EXECUTE FUNCTION note_piece();
"""
_PIECES = "SELECT first, last FROM pieces WHERE partition = $1 AND first < $2 ORDER BY first"


class PoisonedLedger(Ledger):
    """A book in which some of the new orders are refused by PostgreSQL. They are never changed: no change hides one."""

    poison_share = 0.02

    def __init__(self, settings: Settings, seed: int) -> None:
        super().__init__(settings, seed)
        self.poisoned: set[str] = set()

    def _next(self) -> tuple[str, int, bytes]:
        uid, version, value = super()._next()
        if version != 1 or self._uids[-1:] != [uid] or self._random.random() >= self.poison_share:
            return uid, version, value
        self.poisoned.add(self._uids.pop())
        return uid, 0, json.encode({**json.decode(value), "entry": POISON})


async def send_backlog(settings: Settings, ledger: PoisonedLedger) -> None:
    """Fill each partition with a batch, poisoned as `POISONED` says."""
    generator = OrderGenerator(seed=12)
    for partition, poisoned in POISONED.items():
        orders = [{**generator.order(), "sm_id": 1} for _ in range(BATCH)]
        for place in poisoned:
            orders[place]["entry"] = POISON
            ledger.poisoned.add(orders[place]["order_uid"])
        places = await send(settings, *map(_message, orders), partition=partition)
        for place, (order, (_, offset)) in enumerate(zip(orders, places, strict=True)):
            ledger.sent.append(Sent(order["order_uid"], int(place not in poisoned), partition, offset))


def _message(order: dict[str, Any]) -> tuple[bytes, bytes]:
    return order["order_uid"].encode(), json.encode(order)


def places(rows: Iterable[Any], offset: str) -> list[tuple[int, int]]:
    """Return the partition and the offset that each row names, sorted."""
    return sorted((row["partition"], row[offset]) for row in rows)


def assert_written_at_once(pieces: list[tuple[int, int]]) -> None:
    """Check the transactions that moved the offset: each wrote a batch as it had come, with its dead letters.

    A batch of `BATCH` may have come as several: it begins with what is there when the writer has time.
    """
    assert [first for first, _ in pieces] == [0, *(last + 1 for _, last in pieces[:-1])]
    assert pieces[-1][1] >= BATCH - 1
    assert len(pieces) <= BATCH // CHUNK_RECORDS


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(AT_THE_COPY, marks=pytest.mark.fault("12", "poison that PostgreSQL refuses in the COPY")),
        pytest.param(AT_THE_COMMIT, marks=pytest.mark.fault("12", "poison that PostgreSQL refuses at the COMMIT")),
    ],
)
async def test_only_what_postgresql_refuses_becomes_a_dead_letter(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection, refusal: str
) -> None:
    """Wherever in a batch it is, its neighbours land; it is told of once, and no outage is made of it."""
    await database.execute(refusal)
    await database.execute(_NOTE_TRANSACTIONS)
    ledger = PoisonedLedger(settings, fault_run.seed)
    await send_backlog(settings, ledger)
    engine = await started(orderflow, 1, BATCH_MAX_ORDERS=str(BATCH))

    async def the_backlog_is_written() -> None:
        consumed = "SELECT count(*) FROM consumed_offsets WHERE next_offset >= $1"
        await eventually(lambda: database.fetchval(consumed, BATCH), lambda partitions: partitions == len(POISONED), 60)

    report = await fault_run.under_load(the_backlog_is_written, ledger=ledger, messages=3000, per_second=600)
    assert report.violations == []
    refused = await database.fetch("SELECT * FROM dead_letters WHERE reason = $1", REFUSED_BY_DATABASE)
    expected = sorted((one.partition, one.offset) for one in ledger.sent if one.uid in ledger.poisoned)
    assert places(refused, "kafka_offset") == places(engine.seen("batch_refused"), "offset") == expected
    for partition in POISONED:
        rows = await database.fetch(_PIECES, partition, BATCH)
        assert_written_at_once([(row["first"], row["last"]) for row in rows])
    assert engine.seen("outage_started") == []
    fault_run.remark = f"{len(expected)} refused"
    await drain(engine)
