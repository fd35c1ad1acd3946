"""Sends messages to Kafka and says which ones the broker acknowledged, in the order in which they were sent."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiokafka.errors import KafkaError

from engine.kafka.producer import KafkaProducer
from engine.telemetry.trace_context import TRACEPARENT, last_header
from orderflow.publishing.messages import Message

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

ANSWER_TIMEOUT_S = 60.0
"""A broker that has not answered for all of a chunk after so long counts as gone."""
_STOP_TIMEOUT_S = 5.0
_BATCH_BYTES = 128 << 10
_REQUEST_BYTES = 64 << 20
"""Far above what a broker takes by default: how large a message may be is the topic's to say."""


class NoAnswerError(Exception):
    """The broker did not answer in time: the message may or may not have arrived."""


class Publisher:
    """An idempotent producer for one topic; use it as a context manager.

    `options` are those of `kafka_options`. With `tracing`, a message that names no trace begins one. `refusals` counts,
    by the reason in a few words, what was sent and not acknowledged; `lost` says that the broker stopped answering, so
    that sending more makes no sense.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.refusals: Counter[str] = Counter()
        self.lost = False
        self._options = options
        self._topic = topic
        self._answer_timeout_s = answer_timeout_s
        self._tracing = tracing

    async def __aenter__(self) -> Self:
        self._producer = await self._start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stop()

    async def publish(self, chunk: list[Message]) -> list[Message]:
        """Send the messages and return those that the broker acknowledged, in order. Returns in `ANSWER_TIMEOUT_S`.

        Thousands of messages at once make aiokafka slow: hand over about a thousand.
        """
        deadline = asyncio.get_running_loop().time() + self._answer_timeout_s
        errors = await self._send(chunk, deadline)
        self.lost = any(isinstance(error, NoAnswerError) for error in errors)
        if not self.lost and any(errors):
            try:
                await self._send_one_by_one(chunk, errors, deadline)
            except (KafkaError, TimeoutError):
                self.lost = True
        self.refusals.update(reason_of(error) for error in errors if error is not None)
        return [message for message, error in zip(chunk, errors, strict=True) if error is None]

    async def _send(self, chunk: list[Message], deadline: float) -> list[BaseException | None]:
        """Send all and wait for all until `deadline` of the loop's clock. Returns each one's error, or None."""
        answers: list[asyncio.Future[Any]] = []
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                for message in chunk:
                    answers.append(await self._hand_over(message))  # noqa: PERF401
                await asyncio.wait(answers)
        unsent = len(chunk) - len(answers)
        return [*(_error_of(answer) for answer in answers), *(NoAnswerError() for _ in range(unsent))]

    async def _hand_over(self, message: Message) -> "asyncio.Future[Any]":
        """Give a message to the producer; the future is the broker's answer, or the producer's own refusal."""
        headers, sent = list(message.headers), None
        if self._tracing is not None and last_header(headers, TRACEPARENT) is None:
            span, more = self._tracing.sending(self._topic)
            headers, sent = headers + more, partial(self._tracing.sent, span)
        try:
            answer: asyncio.Future[Any] = await self._producer.send(
                self._topic, message.value, message.key, message.partition, headers=headers
            )
        except KafkaError as error:
            answer = asyncio.get_running_loop().create_future()
            answer.set_exception(error)
        if sent is not None:
            answer.add_done_callback(sent)
        return answer

    async def _send_one_by_one(self, chunk: list[Message], errors: list[BaseException | None], deadline: float) -> None:
        """Send again, alone and in order, what was refused, and note the new outcome in `errors`.

        A refused message takes its whole batch along; and it leaves a gap in the numbering of an idempotent producer,
        after which the broker takes nothing more from it for that partition. So each refusal costs a new producer.
        """
        await self._restart()
        for index, refused in enumerate(errors):
            if refused is None or self.lost:
                continue
            (errors[index],) = await self._send([chunk[index]], deadline)
            if isinstance(errors[index], NoAnswerError):
                self.lost = True
            elif errors[index] is not None:
                await self._restart()

    async def _restart(self) -> None:
        await self._stop()
        self._producer = await self._start()

    async def _start(self) -> KafkaProducer:
        producer = KafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
        )
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _stop(self) -> None:
        # An idempotent producer that cannot reach its broker would flush for ever.
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._producer.stop()


def reason_of(error: BaseException) -> str:
    """Return why a message was not acknowledged, in a few words without its content."""
    if isinstance(error, NoAnswerError | TimeoutError):
        return "no answer in time"
    return type(error).__name__.removesuffix("Error")


def _error_of(answer: "asyncio.Future[Any]") -> BaseException | None:
    if answer.done():
        return answer.exception()
    answer.add_done_callback(lambda late: late.cancelled() or late.exception())
    return NoAnswerError()
