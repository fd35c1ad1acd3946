"""`orderflow lag`: how far behind the engine is, in messages and in seconds."""

import asyncio
import signal
import time
from typing import Any

import asyncpg
from msgspec import json

from orderflow.start.settings import Settings
from tests.support.eventually import consumed
from tests.support.programs import Programs
from tests.support.topic import send


async def told(orderflow: Programs) -> list[dict[str, Any]]:
    ended = await orderflow.run("lag", "--json")
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.decode(ended.stdout)
    return found


async def test_what_waits_is_counted_and_its_first_message_has_an_age(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Before anything was consumed, behind a stopped engine, and with none left."""
    assert [(one["partition"], one["lag"], one["lag_s"]) for one in await told(orderflow)] == [
        (partition, 0, 0.0) for partition in range(4)
    ]
    await send(settings, *[(None, b"one"), (None, b"two")], partition=1)
    began_s = time.time()
    [before] = [one for one in await told(orderflow) if one["lag"]]
    assert (before["partition"], before["lag"], before["next_offset"], before["end_offset"]) == (1, 2, 0, 2)
    assert 0 <= before["lag_s"] <= time.time() - began_s + 10

    engine = await orderflow.start("engine", "--workers", "1")
    await consumed(database, 2)
    assert not any(one["lag"] for one in await told(orderflow))
    assert await engine.stop() == 0

    # An hour of silence must not count as an hour of delay.
    await database.execute("UPDATE consumed_offsets SET last_timestamp = last_timestamp - 3600000")
    await send(settings, (None, b"three"), partition=1)
    [after] = [one for one in await told(orderflow) if one["lag"]]
    assert (after["lag"], after["next_offset"], after["end_offset"]) == (1, 2, 3)
    assert after["lag_s"] < 60


async def test_people_get_a_table_and_a_sum(orderflow: Programs, settings: Settings) -> None:
    """With a line per partition, in columns with a name."""
    await send(settings, (None, b"one"), partition=2)
    ended = await orderflow.run("lag")
    assert ended.returncode == 0
    head, *rows = (line.split() for line in ended.lines)
    assert head == ["partition", "messages", "seconds", "held", "next", "offset", "end", "owner"]
    assert [row[:2] for row in rows] == [["0", "0"], ["1", "0"], ["2", "1"], ["3", "0"], ["total", "1"]]
    assert [row[3] for row in rows] == ["0"] * 5
    assert {line.index("–", 50) for line in ended.lines[1:5]} == {ended.lines[0].index("owner")}


async def test_it_watches_until_it_is_told_to_stop(orderflow: Programs) -> None:
    watch = await orderflow.start("lag", "--watch", "--json")
    async with asyncio.timeout(20):
        while len(watch.stdout_lines) < 2:
            await asyncio.sleep(0.05)
    assert await watch.stop(signal.SIGINT) == 0
    assert [one["partition"] for one in json.decode(watch.stdout_lines[1])] == [0, 1, 2, 3]


async def test_a_topic_that_is_missing_is_named(orderflow: Programs) -> None:
    ended = await orderflow.run("lag", KAFKA_TOPIC="no-such-topic")
    assert ended.returncode == 3
    assert "orderflow topics create" in ended.stderr
