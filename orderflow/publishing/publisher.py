"""Sends messages to Kafka, and reports which ones the broker acknowledged, in the order of sending."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiokafka.errors import KafkaError

from engine.kafka.producer import KafkaProducer
from engine.telemetry.trace_context import TRACEPARENT, last_header
from handlers.value_formats import JSON, wrap
from orderflow.publishing.messages import Message

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

CLIENT_ID = "orderflow-publish"
"""The name by which brokers know the publisher."""
ANSWER_TIMEOUT_S = 60.0
"""A broker that has not acknowledged a whole chunk after this time counts as lost."""
_STOP_TIMEOUT_S = 5.0
_BATCH_BYTES = 128 << 10
_REQUEST_BYTES = 64 << 20
"""Far above a broker's default limit, so that only the topic limits a message's size."""


class NoAnswerError(Exception):
    """The broker did not answer in time: the message may or may not have arrived."""


class Publisher:
    """An idempotent producer for one topic; use it as a context manager.

    `options` are the result of `kafka_options`. Values are wrapped in `value_format`, one of `handlers.value_formats`.
    With `tracing`, a message without a traceparent begins a trace.
    `refusals` counts the messages that were not acknowledged, by reason. `lost` is true when the broker has stopped
    answering, so that sending more is useless.
    """

    def __init__(
        self,
        options: dict[str, Any],
        topic: str,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        tracing: "Tracing | None" = None,
        value_format: str = JSON,
    ) -> None:
        self.refusals: Counter[str] = Counter()
        self.lost = False
        self._options = options
        self._topic = topic
        self._answer_timeout_s = answer_timeout_s
        self._tracing = tracing
        self._value_format = value_format

    async def __aenter__(self) -> Self:
        self._producer = await self._start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stop()

    async def publish(self, chunk: list[Message]) -> list[Message]:
        """Send the messages and return the acknowledged ones, in order, at the latest after `ANSWER_TIMEOUT_S`.

        aiokafka is slow with many thousands of messages at once: pass about a thousand.
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
        """Send all messages, and wait until `deadline` on the loop's clock. Returns each message's error, or None."""
        answers: list[asyncio.Future[Any]] = []
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                for message in chunk:
                    answers.append(await self._hand_over(message))  # noqa: PERF401
                await asyncio.wait(answers)
        unsent = len(chunk) - len(answers)
        return [*(_error_of(answer) for answer in answers), *(NoAnswerError() for _ in range(unsent))]

    async def _hand_over(self, message: Message) -> "asyncio.Future[Any]":
        """Pass a message to the producer. The future holds the broker's answer, or the producer's error."""
        headers, sent = list(message.headers), None
        value = wrap(message.value, self._value_format)
        if self._tracing is not None and last_header(headers, TRACEPARENT) is None:
            span, more = self._tracing.sending(self._topic)
            headers, sent = headers + more, partial(self._tracing.sent, span)
        try:
            answer: asyncio.Future[Any] = await self._producer.send(
                self._topic, value, message.key, message.partition, headers=headers
            )
        except KafkaError as error:
            answer = asyncio.get_running_loop().create_future()
            answer.set_exception(error)
        if sent is not None:
            answer.add_done_callback(sent)
        return answer

    async def _send_one_by_one(self, chunk: list[Message], errors: list[BaseException | None], deadline: float) -> None:
        """Send refused messages again, one by one and in order, and store the new outcomes in `errors`.

        One refused message fails its whole batch. It also leaves a gap in the sequence numbers of an idempotent
        producer, after which the broker accepts nothing more from it for that partition. So each refusal needs a new
        producer.
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
            client_id=CLIENT_ID,
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
        # An idempotent producer that cannot reach its broker would flush without end.
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._producer.stop()


def reason_of(error: BaseException) -> str:
    """Return a short reason why a message was not acknowledged, without its content."""
    if isinstance(error, NoAnswerError | TimeoutError):
        return "no answer in time"
    return type(error).__name__.removesuffix("Error")


def _error_of(answer: "asyncio.Future[Any]") -> BaseException | None:
    if answer.done():
        return answer.exception()
    answer.add_done_callback(lambda late: late.cancelled() or late.exception())
    return NoAnswerError()
