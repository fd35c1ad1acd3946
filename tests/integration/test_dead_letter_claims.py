"""A dead letter that is being sent is claimed: no row is locked, nobody else sends it, and the claim ends by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import attrs
import pytest
from lookup.operations import checks

from engine.actors.backoff import Backoff
from engine.actors.status import Status
from engine.dead_letters import outbox, publisher
from engine.dead_letters.publisher import DeadLetterPublisher
from engine.dead_letters.store import PAGE_LETTERS, Owner
from engine.postgres.link import Link
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.letters import letters, store_letter

OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
"""
MANY = """
INSERT INTO dead_letters (topic, partition, kafka_offset, reason, produced_at, failed_at, batch_id, consumer_group,
                          published_at)
SELECT $1, 0, number, 'r', now(), clock_timestamp(), gen_random_uuid(), $2, CASE WHEN $3 THEN now() END
FROM generate_series(1, $4::int) AS number
"""


@attrs.define
class SlowBroker:
    """Stands in for a producer whose broker acknowledges nothing until `acknowledges` is set."""

    sent: list[bytes] = attrs.field(factory=list)
    asked: asyncio.Event = attrs.field(factory=asyncio.Event)
    acknowledges: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def started(self) -> "SlowBroker":
        """Return what sends."""
        return self

    async def send_and_wait(self, _topic: str, value: bytes, _key: bytes, *, headers: Any) -> None:
        """Note the letter, and wait for the acknowledgement."""
        assert headers
        self.sent.append(value)
        self.asked.set()
        await self.acknowledges.wait()

    async def close(self) -> None:
        """Nothing is open."""


Publishers = Callable[[], tuple[DeadLetterPublisher, SlowBroker]]


@pytest.fixture
async def publishers(settings: Settings) -> AsyncIterator[Publishers]:
    """Make publishers of the test's letters, each with a slow broker of its own."""
    links = []

    def make() -> tuple[DeadLetterPublisher, SlowBroker]:
        links.append(Link(postgres_options(settings)))
        made = DeadLetterPublisher(
            owner=Owner(settings.kafka_group_id, settings.kafka_topic),
            dlq_topic=settings.kafka_dlq_topic,
            producer_options={},
            link=links[-1],
            status=Status(1),
            backoff=Backoff(),
            subject_name="order_uid",
        )
        broker = made._producer = SlowBroker()  # type: ignore[assignment]
        return made, broker

    yield make
    for link in links:
        await link.close()


async def test_nothing_is_locked_while_the_broker_is_waited_for(
    publishers: Publishers, database: asyncpg.Connection, settings: Settings
) -> None:
    """Neither a row nor a transaction; another publisher finds nothing to send; what was sent is marked once it is."""
    await store_letter(database, settings)
    (slow, broker), (other, idle) = publishers(), publishers()
    sending = asyncio.create_task(slow.publish_page())
    await broker.asked.wait()
    assert await database.fetchval(OPEN_TRANSACTIONS) == 0
    await database.execute("SELECT FROM dead_letters FOR UPDATE NOWAIT")
    assert not (await other.publish_page()).moved
    broker.acknowledges.set()
    assert len((await sending).taken) == 1
    [letter] = await letters(database)
    assert (letter["published_at"] is not None, letter["claimed_by"], letter["claimed_until"]) == (True, None, None)
    assert (broker.sent, idle.sent) == ([b"a payload"], [])


async def test_a_claim_is_renewed_and_ends_with_its_publisher(
    publishers: Publishers, database: asyncpg.Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow broker lets it move on; a publisher that stops gives it back; that of a dead one ends by itself."""
    monkeypatch.setattr(publisher, "RENEW_S", 0.02)
    await store_letter(database, settings)
    (slow, broker), (other, ready) = publishers(), publishers()
    ready.acknowledges.set()
    sending = asyncio.create_task(slow.publish_page())
    await broker.asked.wait()
    until = "SELECT claimed_until FROM dead_letters"
    first = await database.fetchval(until)
    await eventually(lambda: database.fetchval(until), lambda moved: moved > first)
    sending.cancel()
    await asyncio.wait({sending})
    await slow.close()
    assert await database.fetchval(until) is None

    claimed = "UPDATE dead_letters SET claimed_by = $1, claimed_until = clock_timestamp() + $2::text::interval"
    await database.execute(claimed, uuid4(), "9 seconds")
    assert not (await other.publish_page()).moved
    for ended in ("-1 milliseconds", "1 day"):  # a clock that was set back leaves no claim for ever
        await database.execute(claimed, uuid4(), ended)
        assert len((await other.publish_page()).taken) == 1
        await database.execute("UPDATE dead_letters SET published_at = NULL")


async def test_a_letter_that_is_rejected_again_while_it_is_sent_is_sent_again(
    publishers: Publishers, database: asyncpg.Connection, settings: Settings
) -> None:
    """What was sent is its old reason; one that is resolved meanwhile is marked as usual."""
    await store_letter(database, settings, kafka_offset=1, payload=b"again")
    await store_letter(database, settings, kafka_offset=2, payload=b"resolved")
    slow, broker = publishers()
    sending = asyncio.create_task(slow.publish_page())
    await broker.asked.wait()
    rejected = "UPDATE dead_letters SET batch_id = $1, failed_at = now(), settled_count = 1 WHERE kafka_offset = 1"
    await database.execute(rejected, uuid4())
    await database.execute("UPDATE dead_letters SET resolved_at = now() WHERE kafka_offset = 2")
    broker.acknowledges.set()
    await sending
    again, resolved = await letters(database)
    assert (again["published_at"], again["claimed_by"]) == (None, None)
    assert resolved["published_at"] is not None
    await slow.publish_page()
    assert broker.sent == [b"again", b"resolved", b"again"]


async def test_unsent_letters_of_another_topic_are_not_read(database: asyncpg.Connection) -> None:
    """Neither by the publishers, each second, nor by health or `dlq publish`, whatever the statistics suggest."""
    await database.execute(MANY, "mine", "g", True, 6000)
    await database.execute(MANY, "other", "g", False, 4000)
    await database.execute("ANALYZE dead_letters")
    await database.execute("SET enable_seqscan = off")  # as in the sessions of publishers and of the HTTP server
    for query, arguments in (
        (outbox._FREE, (PAGE_LETTERS, 10.0)),
        (outbox._COUNT_WAITING, ()),
        (outbox._WAIT_AGAIN, (["an error"],)),
        (checks._WAITING, (30.0, 10_000)),
    ):
        for mode in ("force_custom_plan", "force_generic_plan"):
            await database.execute(f"SET plan_cache_mode = {mode}")
            [row] = await database.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", "g", "mine", *arguments)
            assert rows_read(json.loads(row[0])[0]["Plan"]) == 0, (mode, query)


def rows_read(plan: dict[str, Any]) -> float:
    """Return how many rows the scans of a plan have read."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Scan" in plan["Node Type"] else 0
    return float(own * plan["Actual Loops"] + sum(map(rows_read, plan.get("Plans", []))))
