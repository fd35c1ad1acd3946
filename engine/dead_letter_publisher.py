"""Publishes dead letters from the outbox in PostgreSQL to the dead-letter topic."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from asyncpg import Connection

from engine import events, failpoints
from engine.backoff import Backoff
from engine.dead_letter_headers import letter_headers
from engine.dead_letter_store import TOO_LARGE, lock_waiting_letters, mark_published
from engine.postgres import Link, describe, is_outage
from engine.status import Status

POLL_S = 1.0
MAX_REQUEST_BYTES = 64 * 1024 * 1024
SEND_DEADLINE_S = 20.0
LONGEST_PAUSE_S = 5.0


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
            letters = await lock_waiting_letters(connection, self._topic, self._group)
            if not letters:
                return False
            refused = await self._send_together(letters)
            # One letter that is refused takes down those that were sent with it: each is sent again alone.
            too_large = [letter for letter in refused if not await self._send_alone(letter)]
            await mark_published(connection, self._topic, letters)
            await mark_published(connection, self._topic, too_large, TOO_LARGE)
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
