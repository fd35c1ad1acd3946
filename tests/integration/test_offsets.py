"""`orderflow offsets`: what is shown is what counts, and consuming everything again changes nothing."""

from typing import Any

import asyncpg
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.topic import send
from tests.support.topic_admin import create_topic, delete_topic

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
    await again.wait_for("partition_opened", count=PARTITIONS)
    assert await again.stop() == 0


async def test_a_topic_created_anew_is_refused_until_a_reset_and_then_counts_as_later(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Log and health say so, nothing is consumed; after the reset it replaces old orders, lower offsets or not."""
    [order, *others] = messages(settings, 3)  # too few to hold a later version of the first
    changed = (order[0], json.encode({**json.decode(order[1]), "locale": "yy"}))
    total, locale = "SELECT sum(messages) FROM batches", "SELECT locale FROM orders WHERE order_uid = $1"
    await send(settings, order, order, order, partition=0)
    engine = await orderflow.start("engine", "--workers", "1")
    await eventually(lambda: database.fetchval(total), lambda seen: seen == 3)
    assert await engine.stop() == 0

    await delete_topic(settings, settings.kafka_topic)
    await create_topic(settings, settings.kafka_topic, PARTITIONS)
    await send(settings, changed, *others, partition=0)
    again = await orderflow.start("engine", "--workers", "1")
    line = await again.wait_for("partition_refused", partition=0)
    assert (line["reason"], line["offset"]) == ("topic_recreated", 2)
    assert line["fix"] == "orderflow offsets reset --partition 0"
    async with lookup_server(settings) as server:
        told = {name: line[name] for name in ("offset", "reason", "detail", "fix")}
        assert await refused(server, {"0"}) == {"0": told}
        assert await database.fetchval(total) == 3

        reset = await orderflow.run("offsets", "reset", "--partition", "0")
        assert reset.lines == ["partition 0  next offset 3 → 0 (the topic was recreated)"]
        await eventually(lambda: database.fetchval(total), lambda seen: seen == 3 + 1 + len(others))
        assert await database.fetchval(locale, order[0].decode()) == "yy"
        assert await refused(server, set()) == {}
    assert await again.stop() == 0


async def refused(server: LookupServer, partitions: set[str]) -> dict[str, str]:
    """Wait until health names exactly `partitions` as refused; return the reasons, by partition."""

    async def look() -> dict[str, Any]:
        async with server.client.get("/healthz") as answer:
            check: dict[str, Any] = (await answer.json())["checks"]["engine"]
            assert (answer.status, check["status"]) in {(200, "ok"), (503, "unavailable")}
            return check

    check = await eventually(look, lambda seen: set(seen.get("refused", {})) == partitions)
    assert check["status"] == ("unavailable" if partitions else "ok")
    return dict(check.get("refused", {}))


async def test_what_the_topic_does_not_have_is_refused(orderflow: Programs) -> None:
    """A partition or an offset outside the topic, or no offset at all: one line, and nothing is changed."""
    assert (await orderflow.run("offsets", "reset", "--partition", "99")).returncode == 1
    assert (await orderflow.run("offsets", "reset", "--to", "12345")).returncode == 1
    assert (await orderflow.run("offsets", "reset", "--to", "soon")).returncode == 2


async def test_what_is_not_consumed_is_left_out_only_with_yes(orderflow: Programs, settings: Settings) -> None:
    """Else how many messages of which partitions are told, and nothing is changed; to consume again needs no word."""
    first, second, third, other = messages(settings, 4)[:4]
    await send(settings, first, second, third, partition=0)
    await send(settings, other, partition=2)

    refused = await orderflow.run("offsets", "reset", "--to", "latest")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "not consumed yet: 3 of partition 0, 1 of partition 2. Nothing was changed: use --yes" in refused.stderr
    assert json.decode((await orderflow.run("offsets", "show", "--json")).stdout) == []

    done = await orderflow.run("offsets", "reset", "--to", "latest", "--yes")
    assert (done.returncode, done.lines[0]) == (0, "partition 0  next offset none → 3")
    for again in ("latest", "1", "earliest"):
        assert (await orderflow.run("offsets", "reset", "--partition", "0", "--to", again)).returncode == 0
    ahead = await orderflow.run("offsets", "reset", "--partition", "0", "--to", "2")
    assert ahead.returncode == 2
    assert "not consumed yet: 2 of partition 0." in ahead.stderr
