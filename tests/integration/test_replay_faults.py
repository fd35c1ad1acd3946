"""What a replay must stand: senders without end, hostile headers, a brake, workers that freeze or die over it."""

from pathlib import Path

import asyncpg

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.letters import (
    FAILED_AT,
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


async def test_whoever_sends_dead_letters_back_automatically_comes_to_an_end(
    engine: Running, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """As they are, counting up, or edited each time: the dead-letter topic does not hear of them for ever.

    Each is consumed before the next is sent: two of them in one batch count as one replay.
    """
    await send(settings, (None, b"rejected"), partition=3)
    [record] = await receive(settings, settings.kafka_dlq_topic, 1)
    await send(settings, (record.key, record.value), partition=3, headers=list(record.headers))
    await engine.wait_for("dead_letters_replayed", rejected=1)
    [letter] = await eventually(lambda: letters(database), lambda found: found[0]["published_at"] is not None)
    assert (letter["replay_count"], letter["publish_error"]) == (0, None)

    for count in range(1, 7):
        headers = originally(settings, 3, 0, x_replay_count=str(count))
        await send(settings, (record.key, record.value), partition=3, headers=headers)
        await consumed(database, 2 + count)
    [letter] = await letters(database)
    assert (letter["replay_count"], letter["publish_error"]) == (6, "replayed more than 5 times")
    assert [letter["state"] for letter in await listed(orderflow)] == ["given up"]
    assert (await replayed(orderflow, "--everything")).lines == [
        "Skipped 1 letter: replayed 5 times already",
        "Replayed 0 letters",
    ]

    place = (3, 0)
    for attempt in range(3):
        headers = originally(settings, *place)
        [place] = await send(settings, (None, f"edited {attempt}".encode()), partition=3, headers=headers)
        await consumed(database, 9 + attempt)
    edited = (await letters(database))[1:]
    assert [letter["replay_count"] for letter in edited] == [7, 8, 9]
    assert {letter["publish_error"] for letter in edited} == {"replayed more than 5 times"}


async def test_hostile_headers_make_an_ordinary_message(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Garbage, repeats, places that no letter has: the order lands, the reject is a letter of its own, all go on."""
    [(partition, offset)] = await send(settings, (None, b"rejected"), partition=0)
    await consumed(database, 1)
    real = originally(settings, partition, offset)
    hostile: list[list[tuple[str, bytes]]] = [
        originally(settings, 2**31 - 1, 2**63 - 1, x_replay_count="1000000"),
        originally(settings, 2**31, 2**63),
        [*real, ("x-replay-count", b"-1")],
        [*real, ("x-replay-count", b"9" * 10_000)],
        [*real, ("x-replay-force", b"\xff\x00")],
        [*real, ("x-original-offset", b"0")],
        [(name, value) for name, value in real if name != "x-original-topic"],
        [("x-original-topic", b"another"), *real[1:]],
    ]
    for headers in hostile:
        await send(settings, message(orders.order()), (None, b"rejected"), partition=0, headers=headers)
    await consumed(database, 1 + 2 * len(hostile))
    assert await database.fetchval("SELECT count(*) FROM orders") == len(hostile)
    found = await letters(database)
    assert [letter["kafka_offset"] for letter in found] == [0, *(2 * index + 2 for index in range(len(hostile)))]
    assert {(letter["replay_count"], letter["resolved_at"]) for letter in found} == {(0, None)}
    assert engine.seen("dead_letters_replayed") == []
    assert await engine.stop() == 0


async def test_a_sender_cannot_count_a_letter_beyond_its_replays(
    engine: Running, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A copy that claims to be the millionth replay counts as one: an operator can still replay the letter."""
    [(partition, offset)] = await send(settings, (None, b"rejected"), partition=0)
    headers = originally(settings, partition, offset, x_replay_count="1000000")
    await send(settings, (None, b"rejected"), partition=0, headers=headers)
    await consumed(database, 2)
    [letter] = await letters(database)
    assert (letter["replay_count"], letter["settled_count"], letter["publish_error"]) == (1, 1, None)
    assert (await replayed(orderflow, "--everything")).lines == ["Replayed 1 letter: invalid_json 1"]
    await consumed(database, 3)
    assert await engine.stop() == 0


async def test_rejected_replays_do_not_engage_the_brake(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """An operator's replay of what is still wrong says nothing of what producers send now."""
    for offset in range(60):
        await store_letter(database, settings, partition=1, kafka_offset=offset)
    engine = await orderflow.start("engine", "--workers", "1", BRAKE_WINDOW="10", BRAKE_PAUSE_S="600")
    await replayed(orderflow, "--everything")
    await consumed(database, 60)
    assert {letter["replay_count"] for letter in await letters(database)} == {1}
    assert engine.seen("brake_engaged") == []
    await send(settings, *[(None, b"rejected")] * 30, partition=0)
    await engine.wait_for("brake_engaged")


async def test_a_letter_that_a_frozen_worker_holds_is_freed(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """A replay does not hold up its batch while another worker, stuck with the dead-letter topic, locks the letter."""
    order = orders.order()
    key, value = message(order)
    await store_letter(database, settings, partition=1, kafka_offset=7, key=key, payload=value, published_at=FAILED_AT)
    zombie = await asyncpg.connect(
        **{**postgres_options(settings), "server_settings": {"application_name": "orderflow worker-9"}}
    )
    try:
        await zombie.execute("BEGIN")
        await zombie.execute("SELECT FROM dead_letters FOR UPDATE")
        await send(settings, (key, value), partition=1, headers=originally(settings, 1, 7))
        await engine.wait_for("blocker_terminated")
        await engine.wait_for("dead_letters_replayed", accepted=1)
    finally:
        zombie.terminate()
    assert await stored_version(database, order) == order["sm_id"]


async def test_a_replay_is_settled_once_by_workers_that_die_over_it(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """kill -9 before and after the commit: each order is stored once, each letter resolved, none made anew."""
    batch = [orders.order() for _ in range(60)]
    for offset, order in enumerate(batch):
        key, value = message(order)
        place = {"partition": offset % 4, "kafka_offset": 1000 + offset, "subject": order["order_uid"]}
        await store_letter(database, settings, key=key, payload=value, published_at=FAILED_AT, **place)
    ran = await replayed(orderflow, "--everything")
    assert ran.lines == ["Replayed 60 letters: invalid_order 60"]
    armed = {
        "ORDERFLOW_FAILPOINTS": "after-copy=kill@1,after-commit=kill@1",
        "ORDERFLOW_FAILPOINTS_FIRED": str(tmp_path),
    }
    engine = await orderflow.start("engine", "--workers", "2", BATCH_MAX_ORDERS="10", **armed)
    await engine.wait_for("worker_died", count=2, timeout_s=60)
    await consumed(database, 60)
    stored = await database.fetch(
        "SELECT order_uid, source_partition, source_offset FROM orders ORDER BY source_offset"
    )
    assert [tuple(row) for row in stored] == [
        (order["order_uid"], offset % 4, 1000 + offset) for offset, order in enumerate(batch)
    ]
    found = await letters(database)
    assert len(found) == 60
    assert all(letter["resolved_at"] is not None for letter in found)
    assert {(letter["replay_count"], letter["settled_count"]) for letter in found} == {(1, 1)}
    assert await engine.stop() == 0
