"""Dead letters that are sent again: they become orders or stay the letters they were, and replace nothing newer."""

from typing import Any

import asyncpg

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.letters import (
    letters,
    listed,
    message,
    originally,
    replayed,
    store_letter,
    stored_version,
)
from tests.support.programs import Programs, Running
from tests.support.topic import receive, send

POISON = "ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (shardkey <> 'poison')"
MEND = "ALTER TABLE orders DROP CONSTRAINT no_poison"
CONTRACT_HEADERS = [
    "x-original-topic",
    "x-original-partition",
    "x-original-offset",
    "x-failure-reason",
    "x-failure-fields",
    "x-failed-at",
]


def headers_of(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


async def test_a_letter_whose_cause_is_mended_becomes_an_order(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """What PostgreSQL refused is stored as if it had been from the first, the letter is resolved, and twice is once."""
    await database.execute(POISON)
    order = orders.order()
    (partition, offset), _ = await send(settings, message(order, shardkey="poison"), message(orders.order()))
    await consumed(database, 2)
    [refused] = await letters(database)
    assert (refused["reason"], refused["subject"]) == ("refused_by_database", order["order_uid"])
    await database.execute(MEND)

    ran = await replayed(orderflow, "--reason", "refused_by_database")
    assert ran.lines == ["Replayed 1 letter: refused_by_database 1"]
    await engine.wait_for("dead_letters_replayed", accepted=1, rejected=0)
    stored = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", order["order_uid"])
    assert stored is not None
    assert (stored["source_partition"], stored["source_offset"]) == (partition, offset)
    assert stored["produced_at"] == refused["produced_at"]
    [resolved] = await letters(database)
    assert resolved["resolved_at"] is not None
    assert resolved["replay_count"] == 1
    assert await listed(orderflow) == []
    [told] = await listed(orderflow, "--all")
    assert (told["state"], told["replay_count"]) == ("resolved", 1)

    assert (await replayed(orderflow, "--everything")).lines == ["Replayed 0 letters"]
    again = originally(settings, partition, offset, x_replay_count="1")
    await send(settings, (refused["key"], refused["payload"]), partition=partition, headers=again)
    await engine.wait_for("dead_letters_replayed", count=2, accepted=1, rejected=0)
    assert await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", order["order_uid"]) == stored
    [unchanged] = await letters(database)
    assert unchanged["resolved_at"] == resolved["resolved_at"]
    assert await engine.stop() == 0


async def test_a_replay_replaces_a_newer_order_only_by_force(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """The older message loses to what came after it, and is resolved all the same; `--force` makes it the newest."""
    await database.execute(POISON)
    kept, forced = orders.order(), orders.order()
    await send(settings, *(message(order, sm_id=1, shardkey="poison") for order in (kept, forced)), partition=1)
    await consumed(database, 2)
    await send(settings, *(message(order, sm_id=2) for order in (kept, forced)), partition=1)
    await consumed(database, 4)
    await database.execute(MEND)

    await replayed(orderflow, "--uid", kept["order_uid"])
    await engine.wait_for("dead_letters_replayed", accepted=1)
    assert await stored_version(database, kept) == 2
    await replayed(orderflow, "--uid", forced["order_uid"], "--force")
    await engine.wait_for("dead_letters_replayed", count=2, accepted=1)
    assert await stored_version(database, forced) == 1
    assert await stored_version(database, kept) == 2
    assert await listed(orderflow) == []


async def test_an_edited_replay_is_a_new_message(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Mended by hand it is the newest version and resolves its letter; still wrong, it is another letter."""
    order, other = orders.order(), orders.order()
    places = await send(
        settings, message(order, entry=""), message(order, sm_id=2), message(other, entry=""), partition=1
    )
    await consumed(database, 3)
    await send(settings, message(order, sm_id=3), partition=1, headers=originally(settings, *places[0]))
    await engine.wait_for("dead_letters_replayed", accepted=1)
    assert await stored_version(database, order) == 3
    assert [letter["order_uid"] for letter in await listed(orderflow)] == [other["order_uid"]]

    # Another order's place, taken by mistake or by malice, resolves nothing.
    await send(settings, message(order, sm_id=4), partition=1, headers=originally(settings, *places[2]))
    await send(settings, message(other, locale=""), partition=1, headers=originally(settings, *places[2]))
    await consumed(database, 6)
    assert await stored_version(database, order) == 4
    left = [letter for letter in await letters(database) if letter["resolved_at"] is None]
    assert [(letter["kafka_offset"], letter["replay_count"]) for letter in left] == [(2, 0), (5, 1)]


async def test_a_letter_that_is_rejected_again_stays_one_letter(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Its count and its failure are new, the dead-letter topic hears of it again; consumed twice, it counts once."""
    await database.execute(POISON)
    good = orders.order()
    await send(settings, (b"k", b"no order"), message(good), message(orders.order(), shardkey="poison"), partition=2)
    await consumed(database, 3)
    await receive(settings, settings.kafka_dlq_topic, 2)
    first = await letters(database)
    for replay in (1, 2):
        ran = await replayed(orderflow, "--everything")
        assert ran.lines == ["Replayed 2 letters: invalid_json 1, refused_by_database 1"]
        await consumed(database, 3 + 2 * replay)

    published = await receive(settings, settings.kafka_dlq_topic, 6)
    for index, record in enumerate(published):
        count = index // 2
        expected = CONTRACT_HEADERS + (["x-replay-count"] if count else [])
        assert [name for name, _ in record.headers] == expected
        assert headers_of(record).get("x-replay-count", "0") == str(count)
        assert headers_of(record)["x-original-partition"] == "2"
        assert headers_of(record)["x-original-topic"] == settings.kafka_topic
    assert sorted(headers_of(record)["x-original-offset"] for record in published) == ["0", "0", "0", "2", "2", "2"]
    last = await eventually(
        lambda: letters(database), lambda rows: all(row["published_at"] is not None for row in rows)
    )
    assert [letter["kafka_offset"] for letter in last] == [0, 2]
    for before, after in zip(first, last, strict=True):
        assert after["replay_count"] == 2
        assert after["failed_at"] > before["failed_at"]
        assert after["batch_id"] != before["batch_id"]
        assert (after["payload"], after["produced_at"]) == (before["payload"], before["produced_at"])

    assert await engine.stop() == 0
    assert (await orderflow.run("offsets", "reset")).returncode == 0
    again = await orderflow.start("engine", "--workers", "1")
    await consumed(database, 14)
    assert await letters(database) == last
    assert await again.stop() == 0


async def test_a_letter_of_an_older_topic_is_told_by_its_time(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Its offset counted in a topic that is gone: a high one makes it no newer than what the new topic brought."""
    order = orders.order()
    key, old = message(order, sm_id=1)
    await store_letter(database, settings, kafka_offset=1000, key=key, payload=old, subject=order["order_uid"])
    await database.execute(
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset, epoch) VALUES ($1, $2, 0, 0, 1)",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("partition_opened", count=4)
    await send(settings, message(order, sm_id=2), (None, b"rejected"), partition=0)
    await consumed(database, 2)
    await replayed(orderflow, "0:1000")
    await engine.wait_for("dead_letters_replayed", accepted=1)
    assert await stored_version(database, order) == 2
    assert [(letter["epoch"], letter["resolved_at"] is None) for letter in await letters(database)] == [
        (1, True),
        (0, False),
    ]
