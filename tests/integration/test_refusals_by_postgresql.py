"""What PostgreSQL refuses: single messages become dead letters, a table that refuses everything stops the engine."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.programs import Programs, Running
from tests.support.topic import send

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "examples" / "page_views" / "schema.sql"
WINDOW = 100
LETTERS = (
    "SELECT subject, reason, errors -> 0 ->> 'message' AS error, payload, headers::text AS headers FROM dead_letters"
)


def messages(orders: list[dict[str, Any]]) -> list[tuple[bytes | None, bytes | None]]:
    return [(order["order_uid"].encode(), json.encode(order)) for order in orders]


def generated(count: int, **changes: Any) -> list[dict[str, Any]]:
    generator = OrderGenerator(seed=11)
    return [{**generator.order(), **changes} for _ in range(count)]


async def count(database: asyncpg.Connection, table: str) -> int:
    number: int = await database.fetchval(f"SELECT count(*) FROM {table}")
    return number


async def finding(orderflow: Programs, check: str) -> dict[str, Any]:
    """Return what `orderflow doctor` finds in a check."""
    ended = await orderflow.run("doctor", "--json")
    [found] = [one for one in json.decode(ended.stdout) if one["check"] == check]
    return dict(found)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("ADD COLUMN paid_by text NOT NULL", "NotNullViolationError (23502): table orders, column paid_by"),
        (
            "ADD CONSTRAINT nothing CHECK (locale = 'none') NOT VALID",
            "CheckViolationError (23514): table orders, constraint nothing",
        ),
    ],
    ids=["a column", "a constraint"],
)
async def test_a_table_that_refuses_every_order_engages_the_brake(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, change: str, error: str
) -> None:
    """Within about a window, and `doctor` names the column or the constraint; nothing is lost when that is mended."""
    await database.execute(f"ALTER TABLE orders {change}")
    await send(settings, *messages(generated(4 * WINDOW)), partition=1)
    engine = await orderflow.start("engine", "--workers", "1", BRAKE_WINDOW=str(WINDOW), BRAKE_PAUSE_S="600")
    await engine.wait_for("brake_engaged")
    letters = await count(database, "dead_letters")
    assert WINDOW <= letters <= 2 * WINDOW
    assert {row["error"] for row in await database.fetch(LETTERS)} == {error}
    assert (await database.fetchval("SELECT count(DISTINCT xmin::text) FROM dead_letters")) <= 3
    told = await finding(orderflow, "Refused messages")
    assert f"{error} ({letters})" in told["message"]
    changes = await finding(orderflow, "PostgreSQL changes")
    assert changes["outcome"] == ("failed" if "COLUMN" in change else "ok")
    assert ("orders.paid_by" in changes["message"]) == ("COLUMN" in change)

    await database.execute("ALTER TABLE orders DROP COLUMN IF EXISTS paid_by, DROP CONSTRAINT IF EXISTS nothing")
    await orderflow.run("brake", "release")
    await consumed(database, 4 * WINDOW, timeout_s=20)
    assert await count(database, "orders") == 4 * WINDOW - await count(database, "dead_letters")
    assert await count(database, "dead_letters") == letters
    assert await engine.stop() == 0


TRIGGER = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {body}
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("RAISE EXCEPTION 'no';", "RaiseError (P0001): function refuse"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = 'MY001';", "UnknownPostgresError (MY001): function refuse"),
        ("PERFORM (SELECT x FROM generate_series(1, 2) AS x);", "CardinalityViolationError (21000): function refuse"),
    ],
    ids=["raised", "raised with a code of its own", "two rows instead of one"],
)
async def test_an_order_that_a_trigger_refuses_is_a_dead_letter(
    engine: Running, settings: Settings, database: asyncpg.Connection, body: str, error: str
) -> None:
    """Wherever it is in its batch, and its neighbours are stored."""
    await database.execute(TRIGGER.format(body=f"IF NEW.entry = 'poison' THEN {body} END IF;"))
    orders = generated(60)
    poisoned = [0, 31, 32, 59]
    for place in poisoned:
        orders[place]["entry"] = "poison"
    await send(settings, *messages(orders), partition=2)
    await consumed(database, 60, timeout_s=20)
    rows = await database.fetch(f"{LETTERS} ORDER BY kafka_offset")
    assert [(row["subject"], row["error"]) for row in rows] == [(orders[at]["order_uid"], error) for at in poisoned]
    assert await count(database, "orders") == 60 - len(poisoned)
    assert engine.seen("outage_started") == []


async def test_two_orders_that_exclude_each_other_are_told_apart(
    engine: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """By a deferred constraint: the first one is stored, the second one is a dead letter."""
    await database.execute("ALTER TABLE orders ADD CONSTRAINT one UNIQUE (track_number) DEFERRABLE INITIALLY DEFERRED")
    orders = generated(20)
    orders[13]["track_number"] = orders[4]["track_number"]
    await send(settings, *messages(orders), partition=0)
    await consumed(database, 20, timeout_s=20)
    [letter] = await database.fetch(LETTERS)
    assert letter["subject"] == orders[13]["order_uid"]
    assert letter["error"] == "UniqueViolationError (23505): table orders, constraint one"
    assert await database.fetchval("SELECT count(*) FROM batches WHERE rejected > 1") == 0


async def test_a_handler_that_asks_for_a_rewrite_again_and_again_is_stopped(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A unique index that the handler does not know of: the message is a dead letter that names it."""
    await database.execute(SCHEMA.read_text(encoding="utf-8"))
    await database.execute("CREATE UNIQUE INDEX one_visitor ON page_views (visitor)")
    views = [
        {
            "view_id": f"00000000-0000-4000-8000-{number:012}",
            "page": "/cart",
            "visitor": f"visitor-{number % 9}",
            "viewed_at": "2026-05-06T07:08:09Z",
            "duration_ms": 1,
        }
        for number in range(10)
    ]
    pipeline = await orderflow.start(
        module="examples.page_views", PAGE_VIEWS_TOPIC=settings.kafka_topic, PYTHONPATH=str(ROOT)
    )
    await pipeline.wait_for("partition_opened", count=4)
    await send(settings, *[(None, json.encode(view)) for view in views], partition=3)
    await consumed(database, 10, timeout_s=20)
    [letter] = await database.fetch(LETTERS)
    assert letter["subject"] == views[9]["view_id"]
    assert letter["error"] == "UniqueViolationError (23505): table page_views, constraint one_visitor"
    assert await count(database, "page_views") == 9


async def test_a_missing_partition_is_waited_for_and_named(
    engine: Running, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """In the log with the batch that waits, in health and in `doctor`; then the engine goes on by itself."""
    await database.execute(
        """
        ALTER TABLE orders RENAME TO plain;
        ALTER TABLE order_items DROP CONSTRAINT order_items_order_uid_fkey;
        ALTER TABLE plain DROP CONSTRAINT orders_pkey;
        CREATE TABLE orders (LIKE plain INCLUDING ALL) PARTITION BY HASH (order_uid);
        ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (order_uid);
        CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        """
    )
    await send(settings, *messages(generated(20)), partition=1)
    line = await engine.wait_for("outage_started", of="postgres")
    needed = "orders (HASH (order_uid)) lacks the partitions FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    assert (line["setup"], line["topic"], list(line["offsets"])) == (needed, settings.kafka_topic, ["1"])
    assert needed in (await finding(orderflow, "PostgreSQL changes"))["message"]

    async def told() -> str:
        return str((await finding(orderflow, "Refused messages"))["message"])

    await eventually(told, lambda message: f"{settings.kafka_topic} 1:" in message and needed in message)
    await database.execute("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    await consumed(database, 20, timeout_s=20)
    assert (await count(database, "orders"), await count(database, "dead_letters")) == (20, 0)


async def test_a_dead_letter_that_the_table_refuses_is_stored_in_a_form_that_fits(
    engine: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """Without its texts, or without its content, and it says so; its neighbours are stored and no worker dies."""
    await database.execute(
        """
        ALTER TABLE dead_letters ADD CONSTRAINT no_subject CHECK (subject NOT LIKE '%subject%');
        ALTER TABLE dead_letters ADD CONSTRAINT small CHECK (octet_length(payload) < 250);
        """
    )
    [order] = generated(1)
    texts = json.encode({"order_uid": "a subject"})
    large = b"x" * 1000
    await send(settings, (b"1", b"{}"), (b"2", texts), (b"3", large), *messages([order]), partition=0)
    await consumed(database, 4, timeout_s=20)
    rows = await database.fetch(f"{LETTERS} ORDER BY kafka_offset")
    assert [row["payload"] for row in rows[:2]] == [b"{}", texts]
    assert [row["subject"] for row in rows] == [None] * 3
    assert rows[1]["error"].endswith("CheckViolationError (23514): table dead_letters, constraint no_subject")
    assert rows[2]["payload"].startswith(b"not stored: key of 1 bytes (SHA-256 ")
    assert b"payload of 1000 bytes" in rows[2]["payload"]
    assert await count(database, "orders") == 1
    assert len(engine.seen("dead_letter_reduced")) == 2
    assert engine.seen("worker_died") == []


@pytest.mark.long
async def test_a_table_that_takes_no_dead_letter_is_waited_for(
    engine: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """The log names the constraint; without it the engine goes on by itself, and no worker has died."""
    await database.execute("ALTER TABLE dead_letters ADD CONSTRAINT closed CHECK (false) NOT VALID")
    await send(settings, (b"1", b"{}"), *messages(generated(3)), partition=0)
    line = await engine.wait_for("outage_started", of="postgres")
    assert "no dead letter can be stored" in line["setup"]
    assert "table dead_letters, constraint closed" in line["setup"]
    await database.execute("ALTER TABLE dead_letters DROP CONSTRAINT closed")
    await consumed(database, 4, timeout_s=20)
    assert (await count(database, "orders"), await count(database, "dead_letters")) == (3, 1)
    assert engine.seen("worker_died") == []
