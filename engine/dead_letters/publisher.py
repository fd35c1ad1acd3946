"""Publishes dead letters from the outbox in PostgreSQL to the dead-letter topic."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

import attrs
import structlog
from aiokafka.errors import KafkaError
from asyncpg import Connection

from engine.actors import failpoints
from engine.actors.backoff import Backoff
from engine.actors.cancelling import cancel
from engine.actors.status import Status
from engine.dead_letters.headers import letter_headers
from engine.dead_letters.outbox import any_to_claim, claim_letters, mark_sent, release_letters, renew_claims
from engine.dead_letters.refusals import UNREADABLE, concerns_one_record, letter_bytes, reason_to_set_aside
from engine.dead_letters.store import TOO_LARGE, Owner
from engine.kafka.lazy_producer import LazyProducer
from engine.postgres.bookkeeping import local_transaction
from engine.postgres.errors import ERRORS, describe, is_outage
from engine.postgres.link import Link
from engine.telemetry import events

T = TypeVar("T")

POLL_S = 1.0
REQUEST_TIMEOUT_S = 10.0
SEND_DEADLINE_S = 20.0
LONGEST_PAUSE_S = 5.0
ONE_BY_ONE_S = 10.0
"""How long the letters of a page are sent one by one. After that the result is stored, and the others wait."""
LEASE_S = 10.0
"""How long a claim on letters lasts. If their worker dies, others send them after that time."""
RENEW_S = 3.0
RELEASE_WITHIN_S = 2.0


@attrs.define
class PublishedPage:
    """The result of publishing a page of letters.

    `taken` are the published letters. `set_aside` are letters that the topic will never accept, each with the reason.
    All other letters still wait, because of the error `trouble`, or for the next page if `trouble` is None.
    """

    taken: list[Any] = attrs.field(factory=list)
    set_aside: list[tuple[Any, str]] = attrs.field(factory=list)
    trouble: Exception | None = None

    @property
    def moved(self) -> bool:
        """Whether any letter has left the outbox. Then there may be more letters."""
        return bool(self.taken or self.set_aside)


class DeadLetterPublisher:
    """Publishes stored dead letters, oldest first, each at least once. Errors here never delay ingest.

    A page of letters is claimed, then sent, then marked: no transaction is open, and no row locked, while Kafka is
    waited for. The claim keeps other publishers from sending the same letters. It ends by itself if this one dies.
    """

    def __init__(
        self,
        *,
        owner: Owner,
        dlq_topic: str,
        producer_options: dict[str, Any],
        link: Link,
        status: Status,
        backoff: Backoff,
        subject_name: str,
    ) -> None:
        self._owner = owner
        self._dlq_topic = dlq_topic
        self._link = link
        self._status = status
        self._backoff = backoff
        self._subject_name = subject_name
        self._producer = LazyProducer(producer_options, request_timeout_s=REQUEST_TIMEOUT_S, name="dead-letters-stop")
        self._wake = asyncio.Event()
        self._claimant = uuid4()
        self._claimed: list[Any] = []
        self._log = structlog.get_logger()

    def wake(self) -> None:
        """Publish waiting letters now, not only at the next poll."""
        self._wake.set()

    async def run(self) -> None:
        """Publish waiting letters until cancelled. Letters that were sent but not yet marked are sent again later."""
        attempt = 0
        while True:
            try:
                await self._publish_all()
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
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _wait_out(self, error: Exception, attempt: int) -> None:
        """Wait before the next try. `wake` does not end the wait: otherwise each new letter would cause a try."""
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

    async def _publish_all(self) -> None:
        """Publish all waiting letters. Raises the error if they cannot be published now."""
        moved = True
        while moved:
            page = await self.publish_page()
            if page.trouble is not None:
                raise page.trouble
            moved = page.moved

    async def publish_page(self) -> PublishedPage:
        """Publish one page of the outbox. Letters that another publisher has claimed are left to it."""
        async with self._link.use() as connection:
            if not await self._link.within_deadline(any_to_claim(connection, self._owner, LEASE_S)):
                return PublishedPage()
        letters = await self._store(lambda connection: claim_letters(connection, self._owner, self._claimant, LEASE_S))
        if not letters:
            return PublishedPage()
        self._claimed = letters
        page = await self._send_claimed(letters)
        # Published letters are marked even if others failed. Otherwise each try would send them again.
        sent = [*((letter, None) for letter in page.taken), *page.set_aside]
        marked = await self._store(lambda connection: mark_sent(connection, self._owner, sent)) if sent else 0
        if marked < len(letters):
            await self._store(self._release)
        self._claimed = []
        return page

    async def _store(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def store(connection: Connection) -> T:
            async with local_transaction(connection):
                return await work(connection)

        async with self._link.use() as connection:
            return await self._link.within_deadline(store(connection))

    async def _release(self, connection: Connection) -> None:
        await release_letters(connection, self._owner, self._claimed, self._claimant)

    async def _send_claimed(self, letters: list[Any]) -> PublishedPage:
        """Send letters, and renew their claims while the broker is slow."""
        sending = asyncio.create_task(self._send_page(letters), name="dead-letters-page")
        try:
            while not (await asyncio.wait({sending}, timeout=RENEW_S))[0]:
                with suppress(*ERRORS):
                    await self._store(
                        lambda connection: renew_claims(connection, self._owner, letters, self._claimant, LEASE_S)
                    )
        except asyncio.CancelledError:
            await cancel(sending)
            raise
        return sending.result()

    async def _send_page(self, letters: list[Any]) -> PublishedPage:
        page = PublishedPage()
        refused = []
        for letter, error in await self._send_all(self._readable(letters, page)):
            if error is None:
                page.taken.append(letter)
            elif concerns_one_record(error):
                refused.append(letter)
            else:
                page.trouble = page.trouble or error
        # If the broker refuses one letter, the letters that were sent together with it fail, too. So each is sent again
        # alone. The smallest is sent first, because it shows whether the topic accepts any letter.
        refused.sort(key=letter_bytes)
        ends_at = time.monotonic() + ONE_BY_ONE_S
        while refused and page.trouble is None and time.monotonic() < ends_at:
            [(letter, error)] = await self._send_all([refused.pop(0)])
            if error is None:
                page.taken.append(letter)
            elif reason := reason_to_set_aside(letter, error, others_taken=bool(page.taken)):
                self._set_aside(letter, reason, page)
            else:
                page.trouble = error
        return page

    def _readable(self, letters: list[Any], page: PublishedPage) -> list[Any]:
        """Return the letters from which a message can be made. The others are set aside."""
        readable = []
        for letter in letters:
            try:
                letter_headers(letter)
            except Exception:  # the row was inserted manually, so it may have any content
                self._set_aside(letter, UNREADABLE, page)
            else:
                readable.append(letter)
        return readable

    def _set_aside(self, letter: Any, reason: str, page: PublishedPage) -> None:
        if reason == TOO_LARGE:
            self._log.error(events.DEAD_LETTER_TOO_LARGE, **self._place(letter))
        else:
            self._log.error(events.DEAD_LETTER_REFUSED, **self._place(letter), error=reason)
        page.set_aside.append((letter, reason))

    async def _send_all(self, letters: list[Any]) -> list[tuple[Any, Exception | None]]:
        """Send letters together. Returns each letter with its error, or None if it was published."""
        if not letters:
            return []
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
        return {"topic": self._owner.topic, "partition": letter["partition"], "offset": letter["kafka_offset"]}

    async def close(self) -> None:
        """Stop the producer if it was started, and release the letters that were being sent. Does not wait for long."""
        await self._producer.close()
        if self._claimed:
            with suppress(*ERRORS):
                async with asyncio.timeout(RELEASE_WITHIN_S):
                    await self._store(self._release)
            self._claimed = []
