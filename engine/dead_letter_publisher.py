"""Publishes dead letters from the outbox in PostgreSQL to the dead-letter topic."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import attrs
import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from asyncpg import Connection

from engine import events, failpoints
from engine.backoff import Backoff
from engine.dead_letter_headers import letter_headers
from engine.dead_letter_store import TOO_LARGE, lock_waiting_letters, mark_published
from engine.lazy_producer import LazyProducer
from engine.postgres import Link, describe, is_outage
from engine.status import Status

POLL_S = 1.0
REQUEST_TIMEOUT_S = 10.0
SEND_DEADLINE_S = 20.0
LONGEST_PAUSE_S = 5.0
SMALL_LETTER_BYTES = 64 * 1024
"""A topic that finds a letter of this size too large is out of order and is waited for; a larger one is set aside."""


@attrs.define
class _Page:
    """What became of a page of letters. Those that are in none of the lists still wait, because of `trouble`."""

    taken: list[Any] = attrs.field(factory=list)
    too_large: list[Any] = attrs.field(factory=list)
    trouble: Exception | None = None


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
        subject_name: str,
    ) -> None:
        self._topic = topic
        self._group = group
        self._dlq_topic = dlq_topic
        self._link = link
        self._status = status
        self._backoff = backoff
        self._subject_name = subject_name
        self._producer = LazyProducer(producer_options, request_timeout_s=REQUEST_TIMEOUT_S, name="dead-letters-stop")
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
            except Exception as error:
                if not isinstance(error, KafkaError) and not is_outage(error):
                    raise
                attempt += 1
                await self._wait_out(error, attempt)
                continue
            attempt = 0
            if self._status.recovered("dlq"):
                self._log.info(events.OUTAGE_ENDED, of="dlq")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    async def _wait_out(self, error: Exception, attempt: int) -> None:
        """Wait before the next try, whatever is stored meanwhile: each new letter would be a try of its own."""
        self._status.outage("dlq", attempt)
        delay_s = min(LONGEST_PAUSE_S, self._backoff.delay_s(attempt, random.random()))
        event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
        self._log.warning(
            event,
            of="dlq",
            topic=self._dlq_topic,
            error=describe(error),
            tries=attempt,
            next_try_s=round(delay_s, 2),
        )
        self._producer.drop()
        await asyncio.sleep(delay_s)

    async def publish_page(self) -> bool:
        """Publish one page of the outbox. Returns whether there may be more. Raises what kept letters from it."""
        async with self._link.use() as connection:
            page = await self._link.within_deadline(self._publish(connection))
        if page.trouble is not None:
            raise page.trouble
        return bool(page.taken or page.too_large)

    async def _publish(self, connection: Connection) -> "_Page":
        async with connection.transaction():
            page = await self._send_page(await lock_waiting_letters(connection, self._topic, self._group))
            # What was taken is marked whatever became of the others, or each try would send it again.
            await mark_published(connection, self._topic, page.taken)
            await mark_published(connection, self._topic, page.too_large, TOO_LARGE)
        return page

    async def _send_page(self, letters: list[Any]) -> "_Page":
        page = _Page()
        refused = []
        for letter, error in await self._send_all(letters) if letters else []:
            if error is None:
                page.taken.append(letter)
            elif isinstance(error, MessageSizeTooLargeError):
                refused.append(letter)
            else:
                page.trouble = page.trouble or error
        # One letter that is refused takes down those that were sent with it: each is sent again alone.
        while refused and page.trouble is None:
            [(letter, error)] = await self._send_all([refused.pop(0)])
            if error is None:
                page.taken.append(letter)
            elif isinstance(error, MessageSizeTooLargeError) and _letter_bytes(letter) > SMALL_LETTER_BYTES:
                self._log.error(events.DEAD_LETTER_TOO_LARGE, **self._place(letter))
                page.too_large.append(letter)
            else:
                page.trouble = error
        return page

    async def _send_all(self, letters: list[Any]) -> list[tuple[Any, Exception | None]]:
        """Send letters at once; return each with what went wrong."""
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                producer = await self._producer.started()
                outcomes = await asyncio.gather(*(self._send(producer, one) for one in letters), return_exceptions=True)
        except (KafkaError, OSError, TimeoutError) as error:
            return [(letter, error) for letter in letters]
        sent: list[tuple[Any, Exception | None]] = []
        for letter, outcome in zip(letters, outcomes, strict=True):
            if outcome is not None and not isinstance(outcome, KafkaError | OSError):
                raise outcome
            sent.append((letter, outcome))
        return sent

    async def _send(self, producer: Any, letter: Any) -> None:
        await producer.send_and_wait(self._dlq_topic, letter["payload"], letter["key"], headers=letter_headers(letter))
        failpoints.reach(failpoints.AFTER_DEAD_LETTER_SEND)
        self._log.info(
            events.DEAD_LETTER_PUBLISHED,
            **self._place(letter),
            reason=letter["reason"],
            **{self._subject_name: letter["subject"]},
        )

    def _place(self, letter: Any) -> dict[str, Any]:
        return {"topic": self._topic, "partition": letter["partition"], "offset": letter["kafka_offset"]}

    async def close(self) -> None:
        """Stop the producer, if it was ever started, and do not wait for long."""
        await self._producer.close()


def _letter_bytes(letter: Any) -> int:
    return len(letter["payload"] or b"") + len(letter["key"] or b"")
