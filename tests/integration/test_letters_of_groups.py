"""Several consumer groups over one topic and one database: each has dead letters of its own."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import attrs
import pytest

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.letters import letters, listed, message, originally, replayed, store_letter, stored_version
from tests.support.programs import Programs, Running
from tests.support.topic import receive, send
from tests.support.topic_admin import configure_topic, create_topic, delete_topic

POISON = "ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (shardkey <> 'poison')"
MEND = "ALTER TABLE orders DROP CONSTRAINT no_poison"


@attrs.frozen
class Other:
    """A second engine: its group, its dead-letter topic, and the program."""

    group: str
    dlq_topic: str
    engine: Running


@pytest.fixture
async def other(orderflow: Programs, settings: Settings) -> AsyncIterator[Other]:
    """Start an engine of another group over the same topic and database, with a dead-letter topic of its own."""
    group, dlq_topic = f"{settings.kafka_group_id}-2", f"{settings.kafka_dlq_topic}-2"
    await create_topic(settings, dlq_topic, 1)
    engine = await orderflow.start("engine", "--workers", "1", KAFKA_GROUP_ID=group, KAFKA_DLQ_TOPIC=dlq_topic)
    await engine.wait_for("partition_opened", count=4)
    yield Other(group, dlq_topic, engine)
    await engine.destroy()
    await delete_topic(settings, dlq_topic)


async def states(database: asyncpg.Connection, group: str) -> list[tuple[int, int, bool]]:
    """Return of each letter of a group its offset, how often its replays were settled, and whether it is resolved."""
    rows = await database.fetch(
        "SELECT kafka_offset, settled_count, resolved_at IS NOT NULL FROM dead_letters WHERE consumer_group = $1 "
        "ORDER BY partition, kafka_offset",
        group,
    )
    return [tuple(row) for row in rows]


async def have_letters(database: asyncpg.Connection, count: int) -> None:
    """Wait until there are so many letters, of all groups, and all are published."""
    published = "SELECT count(*) FROM dead_letters WHERE published_at IS NOT NULL"
    await eventually(lambda: database.fetchval(published), lambda found: found == count)


async def test_each_group_has_its_letters_and_a_replay_settles_those_of_its_own(
    engine: Running,
    other: Other,
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
) -> None:
    """Each one's dead-letter topic gets them; a replay of one leaves the other's open, and replaces nothing newer."""
    await database.execute(POISON)
    order = orders.order()
    await send(settings, message(order, sm_id=1, shardkey="poison"), partition=1)
    await have_letters(database, 2)
    await send(settings, message(order, sm_id=2), partition=1)
    await consumed(database, 4)
    for topic in (settings.kafka_dlq_topic, other.dlq_topic):
        [letter] = await receive(settings, topic, 1)
        assert dict(letter.headers)["x-original-offset"] == b"0"
    assert await states(database, settings.kafka_group_id) == [(0, 0, False)]
    assert await states(database, other.group) == [(0, 0, False)]
    await database.execute(MEND)

    assert (await replayed(orderflow, "--everything")).lines == ["Replayed 1 letter: refused_by_database 1"]
    await engine.wait_for("dead_letters_replayed", accepted=1, of_others=0)
    await other.engine.wait_for("dead_letters_replayed", accepted=0, of_others=1)
    assert await states(database, settings.kafka_group_id) == [(0, 1, True)]
    assert await states(database, other.group) == [(0, 0, False)]
    assert await stored_version(database, order) == 2
    assert await listed(orderflow) == []
    assert [letter["offset"] for letter in await listed(orderflow, "--group", other.group)] == [0]

    await replayed(orderflow, "--everything", "--group", other.group)
    await other.engine.wait_for("dead_letters_replayed", accepted=1, of_others=0)
    await engine.wait_for("dead_letters_replayed", accepted=0, of_others=1)
    assert await states(database, other.group) == [(0, 1, True)]
    assert await stored_version(database, order) == 2
    assert [row[0] for row in await database.fetch("SELECT DISTINCT version FROM workers")] == [1]
    assert [await running.stop() for running in (engine, other.engine)] == [0, 0]


async def test_what_another_group_replays_becomes_no_second_letter(
    engine: Running, other: Other, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Rejected by both, it is news to the group whose letter it is; whoever names no group asks every one."""
    await send(settings, (b"k", b"no order"), partition=2)
    await have_letters(database, 2)
    await replayed(orderflow, "--everything")
    await engine.wait_for("dead_letters_replayed", rejected=1, of_others=0)
    await other.engine.wait_for("dead_letters_replayed", rejected=0, of_others=1)
    assert await states(database, settings.kafka_group_id) == [(0, 1, False)]
    assert await states(database, other.group) == [(0, 0, False)]

    await send(settings, (b"k", b"no order"), partition=2, headers=originally(settings, 2, 0, x_replay_count="2"))
    await engine.wait_for("dead_letters_replayed", rejected=1, of_others=0, count=2)
    await other.engine.wait_for("dead_letters_replayed", rejected=1, of_others=0)
    assert await states(database, settings.kafka_group_id) == [(0, 2, False)]
    assert await states(database, other.group) == [(0, 1, False)]


async def test_a_group_without_a_letter_of_it_takes_a_replay_for_what_it_was(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """It competes from its original place, whoever has the letter, and whether or not the replay says whose it is."""
    order = orders.order()
    key, old = message(order, sm_id=1)
    await send(settings, message(orders.order()), message(order, sm_id=2), partition=0)
    await consumed(database, 2)
    await store_letter(database, settings, kafka_offset=0, key=key, payload=old, consumer_group="another group")
    for number, headers in enumerate(({"x_original_group": "another group"}, {}), start=1):
        await send(settings, (key, old), partition=0, headers=originally(settings, 0, 0, **headers))
        await engine.wait_for("dead_letters_replayed", of_others=1, count=number)
    assert await stored_version(database, order) == 2
    assert await states(database, "another group") == [(0, 0, False)]


async def test_letters_of_a_group_that_is_gone_are_told_published_and_replayed(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """By the doctor and `dlq list`; another engine's workers settle them, and its own letters are not concerned."""
    order = orders.order()
    key, payload = message(order)
    gone: dict[str, Any] = {"consumer_group": "gone", "subject": order["order_uid"]}
    await store_letter(database, settings, kafka_offset=7, key=key, payload=payload, **gone)
    published_at = datetime.now(UTC) - timedelta(days=1)
    await store_letter(database, settings, kafka_offset=8, payload=b"no order", published_at=published_at, **gone)
    await store_letter(database, settings, kafka_offset=9, payload=b"no order", published_at=published_at)

    told = (await orderflow.run("dlq", "list")).stderr
    assert "Group 'gone' has 2 unresolved and 1 unsent letters, but no worker reported in the last minute" in told
    checks = {finding["check"]: finding for finding in json.loads((await orderflow.run("doctor", "--json")).stdout)}
    assert checks["Dead letters"]["outcome"] == "warning"
    assert "gone (1)" in checks["Dead letters"]["message"]
    assert "`orderflow dlq publish --group NAME`" in checks["Dead letters"]["message"]

    for published in (1, 0):
        ran = await orderflow.run("dlq", "publish", "--group", "gone", "--json")
        assert json.loads(ran.stdout) == {
            "consumer_group": "gone", "topic": settings.kafka_topic, "published": published, "set_aside": {}
        }  # fmt: skip
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert (letter.key, letter.value) == (key, payload)
    checks = {finding["check"]: finding for finding in json.loads((await orderflow.run("doctor", "--json")).stdout)}
    assert checks["Dead letters"]["outcome"] == "ok"

    ran = await replayed(orderflow, "--everything", "--group", "gone")
    assert ran.lines == ["Replayed 2 letters: invalid_order 2"]
    assert f"workers of {settings.kafka_group_id!r} settle its letters" in ran.stderr
    await eventually(lambda: states(database, "gone"), lambda found: found == [(7, 1, True), (8, 1, False)])
    assert await states(database, settings.kafka_group_id) == [(9, 0, False)]
    assert await stored_version(database, order) is not None


async def test_a_group_that_has_no_letters_is_a_mistake(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Exit code 2, with the groups that may be meant."""
    await store_letter(database, settings, consumer_group="real")
    for command in (("list",), ("show", "0:0"), ("replay", "0:0"), ("publish",)):
        ran = await orderflow.run("dlq", *command, "--group", "reel")
        assert ran.returncode == 2, ran.stderr
        assert f"'reel' has no letters; known groups: {settings.kafka_group_id}, real" in ran.stderr


async def test_what_the_topic_refused_is_published_once_it_is_mended(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A letter without a key is set aside by a compacted topic, and goes there when it is compacted no more."""
    await configure_topic(settings, settings.kafka_dlq_topic, cleanup_policy="compact")
    await store_letter(database, settings, key=None, payload=b"no key")
    why = "refused by the dead-letter topic: invalid record, and it has no key (a compacted topic takes none without)"
    refused = await orderflow.run("dlq", "publish")
    assert (refused.returncode, refused.lines) == (0, ["Published 0 letters", f"Set aside 1 letter: {why}"])
    await configure_topic(settings, settings.kafka_dlq_topic, cleanup_policy="delete")
    assert (await orderflow.run("dlq", "publish")).lines == ["Published 0 letters"]
    assert (await orderflow.run("dlq", "publish", "--refused")).lines == ["Published 1 letter"]
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert letter.value == b"no key"
    [row] = await letters(database)
    assert (row["publish_error"], row["published_at"] is not None) == (None, True)
