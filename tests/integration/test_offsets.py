"""`orderflow offsets`: what is shown is what counts, and consuming everything again changes nothing."""

import asyncpg
from msgspec import json

from orderflow.orders import OrderGenerator
from orderflow.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs
from tests.support.topic import send

STATE = """
SELECT md5(string_agg(o::text || i::text, '' ORDER BY o.order_uid, i.position))
FROM orders o JOIN order_items i USING (order_uid)
"""


def messages(settings: Settings, count: int) -> list[tuple[bytes, bytes]]:
    generator = OrderGenerator(seed=3)
    orders = [generator.order() for _ in range(count)]
    changed = [{**order, "locale": "xx"} for order in orders[: count // 4]]
    return [(order["order_uid"].encode(), json.encode(order)) for order in (*orders, *changed)]


async def test_everything_consumed_again_leaves_the_same_state(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A running engine follows a reset, a restarted one too, and the hash of what is stored stays the same."""
    sent = messages(settings, 40)
    await send(settings, *sent)
    engine = await orderflow.start("engine", "--workers", "2")
    total = "SELECT coalesce(sum(messages), 0) FROM batches"
    await eventually(lambda: database.fetchval(total), lambda seen: seen == len(sent))
    before = await database.fetchval(STATE)

    reset = await orderflow.run("offsets", "reset")
    assert reset.returncode == 0, reset.stderr
    assert len(reset.lines) == PARTITIONS
    await send(settings, (None, b"no order"), partition=0)  # the next batch of the partition finds the fence
    shown = await orderflow.run("offsets", "show", "--json")
    assert {row["partition"] for row in json.decode(shown.stdout)} == set(range(PARTITIONS))
    assert await engine.stop() == 0

    again = await orderflow.start("engine", "--workers", "2")
    await eventually(lambda: database.fetchval(total), lambda seen: seen == 2 * len(sent) + 1)
    assert await database.fetchval(STATE) == before
    assert await again.stop() == 0


async def test_a_topic_created_anew_counts_as_later(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """After a reset, messages of the new topic replace orders of the old one although their offsets are lower."""
    [first, *_] = messages(settings, 4)
    await send(settings, first, first, first, partition=0)
    engine = await orderflow.start("engine", "--workers", "1")
    await eventually(lambda: database.fetchval("SELECT sum(messages) FROM batches"), lambda seen: seen == 3)
    assert await engine.stop() == 0
    await database.execute("UPDATE consumed_offsets SET last_checksum = 1 WHERE partition = 0")
    reset = await orderflow.run("offsets", "reset", "--partition", "0")
    assert reset.lines == ["partition 0  next offset 3 → 0 (the topic was created anew)"]
    shown = json.decode((await orderflow.run("offsets", "show", "--json")).stdout)
    assert [row["epoch"] for row in shown if row["partition"] == 0] == [1]


async def test_what_the_topic_does_not_have_is_refused(orderflow: Programs) -> None:
    """A partition or an offset outside the topic, or no offset at all: one line, and nothing is changed."""
    assert (await orderflow.run("offsets", "reset", "--partition", "99")).returncode == 3
    assert (await orderflow.run("offsets", "reset", "--to", "12345")).returncode == 3
    assert (await orderflow.run("offsets", "reset", "--to", "soon")).returncode == 2
