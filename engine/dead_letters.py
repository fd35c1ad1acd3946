"""Dead letters: stored in the batch's own transaction, then published to the dead-letter topic from that outbox."""

import asyncio
import random
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import attrs
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from asyncpg import Connection
from msgspec import json

from engine import events, failpoints
from engine.backoff import Backoff
from engine.postgres import Link, describe, is_outage
from engine.records import Batch, Record, record_time
from engine.status import Status
from engine.verdict import Rejected

T = TypeVar("T")

POLL_S = 1.0
PAGE_LETTERS = 200
PAGE_BYTES = 4 * 1024 * 1024
MAX_REQUEST_BYTES = 64 * 1024 * 1024
FIELDS_HEADER_BYTES = 4096
SEND_DEADLINE_S = 20.0
LONGEST_PAUSE_S = 5.0
TOO_LARGE = "too large for the dead-letter topic"

# An offset that is consumed again (after a reset) brings the same letter, which stays as it is; a topic that was
# created anew may bring another one under the same offset, which replaces it.
_INSERT = """
INSERT INTO dead_letters AS stored (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject,
                                    produced_at, failed_at, batch_id, consumer_group)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[]::jsonb[], $7::text[],
                     $8::text[]::jsonb[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::uuid[], $13::text[])
ON CONFLICT (topic, partition, kafka_offset) DO UPDATE
SET key = excluded.key, payload = excluded.payload, headers = excluded.headers, reason = excluded.reason,
    errors = excluded.errors, subject = excluded.subject, produced_at = excluded.produced_at,
    failed_at = excluded.failed_at, batch_id = excluded.batch_id, published_at = NULL, publish_error = NULL,
    resolved_at = NULL, replay_count = 0
WHERE (stored.payload, stored.produced_at) IS DISTINCT FROM (excluded.payload, excluded.produced_at)
"""
_WAITING = """
SELECT partition, kafka_offset, coalesce(octet_length(payload), 0) AS size FROM dead_letters
WHERE published_at IS NULL AND publish_error IS NULL AND topic = $1 AND consumer_group = $2
ORDER BY failed_at, partition, kafka_offset LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_LETTERS = """
SELECT d.* FROM dead_letters d JOIN unnest($2::int[], $3::bigint[]) AS wanted (partition, kafka_offset)
    ON d.partition = wanted.partition AND d.kafka_offset = wanted.kafka_offset
WHERE d.topic = $1 ORDER BY d.partition, d.kafka_offset
"""
_SETTLE = """
UPDATE dead_letters d SET published_at = CASE WHEN $4::text IS NULL THEN clock_timestamp() END, publish_error = $4
FROM unnest($2::int[], $3::bigint[]) AS sent (partition, kafka_offset)
WHERE d.topic = $1 AND d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset
"""


async def insert_dead_letters(
    connection: Connection, group: str, batch: Batch[T], rejected: list[tuple[Record, Rejected]]
) -> None:
    """Store the rejected records of a batch within its transaction."""
    failed_at = datetime.now(UTC)
    rows = [
        (
            batch.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            _encode_headers(record),
            verdict.reason,
            json.encode([attrs.asdict(error) for error in verdict.errors]).decode(),
            verdict.subject,
            record_time(record),
            failed_at,
            batch.batch_id,
            group,
        )
        for record, verdict in rejected
    ]
    await connection.execute(_INSERT, *(list(column) for column in zip(*rows, strict=True)))


def _encode_headers(record: Record) -> str:
    # Names are text without NUL for jsonb; values are any bytes, hence base64.
    return json.encode(
        [[name.replace("\x00", ""), b64encode(value or b"").decode()] for name, value in record.headers or ()]
    ).decode()


def decode_headers(stored: str) -> list[tuple[str, bytes]]:
    """Return the original record's headers from the stored column."""
    return [(name, b64decode(value)) for name, value in json.decode(stored)]


def letter_headers(letter: Any) -> list[tuple[str, bytes]]:
    """Return the headers that a letter carries to the dead-letter topic. They hold no personal data."""
    paths = list(dict.fromkeys(error["path"] for error in json.decode(letter["errors"]) if error["path"]))
    fields = ",".join(paths).encode()
    while len(fields) > FIELDS_HEADER_BYTES:
        paths.pop()
        fields = ",".join([*paths, "…"]).encode()
    return [
        ("x-original-topic", letter["topic"].encode()),
        ("x-original-partition", str(letter["partition"]).encode()),
        ("x-original-offset", str(letter["kafka_offset"]).encode()),
        ("x-failure-reason", letter["reason"].encode()),
        ("x-failure-fields", fields),
        ("x-failed-at", letter["failed_at"].isoformat().replace("+00:00", "Z").encode()),
    ]


class DeadLetterPublisher:
    """Publishes stored dead letters, oldest first, at least once each. Trouble here never holds up ingest."""

    def __init__(
        self,
        topic: str,
        group: str,
        dlq_topic: str,
        producer_options: dict[str, Any],
        link: Link,
        status: Status,
        backoff: Backoff,
    ) -> None:
        self._topic = topic
        self._group = group
        self._dlq_topic = dlq_topic
        self._options = producer_options
        self._link = link
        self._status = status
        self._backoff = backoff
        self._producer: Any = None
        self._wake = asyncio.Event()
        self._log = structlog.get_logger()

    def wake(self) -> None:
        """Look at the outbox now instead of at the next poll."""
        self._wake.set()

    async def run(self) -> None:
        """Publish what waits, for ever. Cancelling is fine: what was sent but not marked is sent again later."""
        attempt = 0
        while True:
            try:
                while await self.publish_page():
                    pass
                attempt = 0
                if self._status.recovered("dlq"):
                    self._log.info(events.OUTAGE_ENDED, of="dlq")
                delay_s = POLL_S
            except (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not isinstance(error, KafkaError) and not is_outage(error):
                    raise
                attempt += 1
                self._status.outage("dlq", attempt)
                delay_s = min(LONGEST_PAUSE_S, self._backoff.delay_s(attempt, random.random()))
                event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
                self._log.warning(
                    event, of="dlq", topic=self._dlq_topic, error=describe(error), next_try_s=round(delay_s, 2)
                )
                await self._drop_producer()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay_s)
            self._wake.clear()

    async def publish_page(self) -> bool:
        """Publish one page of the outbox. Returns whether there may be more."""
        async with self._link.use() as connection:
            return await self._link.within_deadline(self._publish(connection))

    async def _publish(self, connection: Connection) -> bool:
        async with connection.transaction():
            waiting = await connection.fetch(_WAITING, self._topic, self._group, PAGE_LETTERS)
            page = _first_bytes(waiting, PAGE_BYTES)
            if not page:
                return False
            letters = await connection.fetch(
                _LETTERS, self._topic, [row["partition"] for row in page], [row["kafka_offset"] for row in page]
            )
            refused = await self._send_together(letters)
            # One letter that is refused takes down those that were sent with it: each is sent again alone.
            too_large = [letter for letter in refused if not await self._send_alone(letter)]
            for chosen, error in ((letters, None), (too_large, TOO_LARGE)):
                partitions = [letter["partition"] for letter in chosen]
                await connection.execute(
                    _SETTLE, self._topic, partitions, [letter["kafka_offset"] for letter in chosen], error
                )
        return True

    async def _send_together(self, letters: list[Any]) -> list[Any]:
        """Send letters at once; return those that the broker refused. Raises what else went wrong."""
        producer = await self._started_producer()
        async with asyncio.timeout(SEND_DEADLINE_S):
            outcomes = await asyncio.gather(*(self._send(producer, one) for one in letters), return_exceptions=True)
        refused = []
        for letter, outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                refused.append(letter)
            elif isinstance(outcome, BaseException):
                raise outcome
        return refused

    async def _send_alone(self, letter: Any) -> bool:
        """Send one letter with a producer of its own: a refusal spoils a producer. Return whether it was taken."""
        await self._drop_producer()
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                await self._send(await self._started_producer(), letter)
        except MessageSizeTooLargeError:
            place = {"topic": self._topic, "partition": letter["partition"], "offset": letter["kafka_offset"]}
            self._log.error(events.DEAD_LETTER_TOO_LARGE, **place)
            await self._drop_producer()
            return False
        return True

    async def _send(self, producer: Any, letter: Any) -> None:
        await producer.send_and_wait(self._dlq_topic, letter["payload"], letter["key"], headers=letter_headers(letter))
        failpoints.reach(failpoints.AFTER_DEAD_LETTER_SEND)
        self._log.info(
            events.DEAD_LETTER_PUBLISHED,
            topic=self._topic,
            partition=letter["partition"],
            offset=letter["kafka_offset"],
            reason=letter["reason"],
            order_uid=letter["subject"],
        )

    async def _started_producer(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(
                acks="all", enable_idempotence=True, max_request_size=MAX_REQUEST_BYTES, **self._options
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), 5)
            except (KafkaError, TimeoutError):
                return

    async def close(self) -> None:
        """Stop the producer, if it was ever started."""
        await self._drop_producer()


def _first_bytes(rows: list[Any], limit: int) -> list[Any]:
    taken: list[Any] = []
    total = 0
    for row in rows:
        total += row["size"]
        if taken and total > limit:
            break
        taken.append(row)
    return taken
