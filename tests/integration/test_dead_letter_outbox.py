"""The outbox of dead letters: what its topic takes goes there, what it never will is kept, and nobody waits for it."""

import asyncpg

from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import connect
from tests.support.letters import listed, store_letter
from tests.support.odd_headers import send_odd
from tests.support.programs import Programs
from tests.support.topic import receive, send
from tests.support.topic_admin import configure_topic

LIMIT_BYTES = 100_000


async def test_a_letter_too_large_for_its_topic_is_set_aside_alone(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """It is marked and kept in the table; the letters around it are published."""
    await configure_topic(settings, settings.kafka_dlq_topic, max_message_bytes=str(LIMIT_BYTES))
    await send(settings, (None, b"bad"), (None, b"bad" * LIMIT_BYTES), (None, b"worse"), partition=0)
    engine = await orderflow.start("engine", "--workers", "1")
    line = await engine.wait_for("dead_letter_too_large")
    assert (line["partition"], line["offset"]) == (0, 1)
    letters = await receive(settings, settings.kafka_dlq_topic, 2)
    assert sorted(letter.value for letter in letters) == [b"bad", b"worse"]
    kept = "SELECT octet_length(payload), publish_error FROM dead_letters WHERE published_at IS NULL"
    found = await eventually(lambda: database.fetch(kept), lambda rows: len(rows) == 1)
    assert tuple(found[0]) == (3 * LIMIT_BYTES, "too large for the dead-letter topic")
    assert engine.seen("outage_started", of="dlq") == []
    assert await engine.stop() == 0


async def test_a_letter_with_neither_key_nor_value_is_published(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Kafka takes such records, and so does the dead-letter topic."""
    await send_odd(settings, [(None, None, [])], partition=3)
    engine = await orderflow.start("engine", "--workers", "1")
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert (letter.key, letter.value) == (None, None)
    assert dict(letter.headers)["x-failure-reason"] == b"empty_message"
    waiting = "SELECT count(*) FROM dead_letters WHERE published_at IS NULL"
    await eventually(lambda: database.fetchval(waiting), lambda count: count == 0)
    assert await engine.stop() == 0


async def test_a_letter_that_comes_again_does_not_wait_for_its_row(
    orderflow: Programs, environment: dict[str, str], settings: Settings, database: asyncpg.Connection
) -> None:
    """An equal letter changes nothing, so whoever has locked the row does not delay the batch."""
    await send(settings, (None, b"bad"), partition=0)
    first = await orderflow.start("engine", "--workers", "1")
    await first.wait_for("dead_letter_published")
    assert await first.stop() == 0
    assert (await orderflow.run("offsets", "reset")).returncode == 0
    other = await connect(environment)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM dead_letters FOR UPDATE")
            second = await orderflow.start("engine", "--workers", "1")
            await second.wait_for("batch_committed")
    finally:
        await other.close()
    assert second.seen("outage_started") == []
    assert await second.stop() == 0


async def test_a_compacted_topic_sets_letters_without_a_key_aside_and_no_other(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """It refuses all that is sent together with one; each such letter is kept, with why, and the rest is published."""
    await configure_topic(settings, settings.kafka_dlq_topic, cleanup_policy="compact,delete")
    keyed = [(b"key %d" % number, b"bad %d" % number) for number in range(5)]
    await send(settings, *keyed[:3], (None, b"no key"), *keyed[3:], (None, b"none here"), partition=0)
    engine = await orderflow.start("engine", "--workers", "1")
    letters = await receive(settings, settings.kafka_dlq_topic, 5)
    assert sorted((letter.key, letter.value) for letter in letters) == keyed
    kept = """
    SELECT kafka_offset, publish_error FROM dead_letters WHERE published_at IS NULL AND publish_error IS NOT NULL
    ORDER BY kafka_offset
    """
    found = await eventually(lambda: database.fetch(kept), lambda rows: len(rows) == 2)
    why = "refused by the dead-letter topic: invalid record, and it has no key (a compacted topic takes none without)"
    assert [tuple(row) for row in found] == [(3, why), (6, why)]
    await engine.wait_for("dead_letter_refused", partition=0, offset=3)
    assert {letter["state"] for letter in await listed(orderflow)} == {"refused", "published"}

    await send(settings, (b"another key", b"bad again"), partition=0)
    await engine.wait_for("dead_letter_published", offset=7)
    assert engine.seen("outage_started", of="dlq") == []
    assert await engine.stop() == 0


async def test_a_small_letter_is_too_large_once_the_topic_has_taken_a_smaller_one(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """The topic is in order then, and neither waits for the other."""
    await configure_topic(settings, settings.kafka_dlq_topic, max_message_bytes="10000")
    await send(settings, (None, b"x" * 20_000), (None, b"bad"), partition=0)
    engine = await orderflow.start("engine", "--workers", "1")
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert letter.value == b"bad"
    line = await engine.wait_for("dead_letter_too_large")
    assert (line["partition"], line["offset"]) == (0, 0)
    assert await engine.stop() == 0


async def test_a_letter_that_nobody_can_read_is_set_aside(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A row that was written by hand ends no worker, and its neighbours are published."""
    await store_letter(database, settings, kafka_offset=1, headers='{"not": "a list of pairs"}')
    await store_letter(database, settings, kafka_offset=2, errors='[{"where": "entry"}]')
    await store_letter(database, settings, kafka_offset=3, payload=b"well")
    engine = await orderflow.start("engine", "--workers", "1")
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert letter.value == b"well"
    reasons = "SELECT publish_error FROM dead_letters ORDER BY kafka_offset"
    await eventually(
        lambda: database.fetch(reasons),
        lambda rows: [row[0] for row in rows] == ["its row cannot be made into a message"] * 2 + [None],
    )
    assert engine.seen("worker_died") == []
    assert await engine.stop() == 0
