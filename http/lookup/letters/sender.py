"""Sends messages to the orders' topic, each to its partition, and waits for the broker's acknowledgements."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from engine.dead_letters.replay import Outgoing
from engine.kafka.lazy_producer import LazyProducer
from engine.records import Place
from lookup.serving.refusal import Refused

MESSAGE_TOO_LARGE = "message_too_large"
NOT_ACKNOWLEDGED = "not_acknowledged"


RETRY_LATER = {"Retry-After": "5"}


class BrokerUnavailable(Refused):
    """Kafka does not answer, or the topic is missing: nothing was sent."""

    def __init__(self) -> None:
        super().__init__("kafka_unavailable", 503, headers=RETRY_LATER)


class LetterSender:
    """Keeps one producer, which is started when it is first needed. Every step ends within the deadline."""

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._topic = topic
        self._deadline_s = deadline_s
        # The producer's own time-out is shorter: a message that it gave up on is not sent later.
        self._producer = LazyProducer(dict(options), request_timeout_s=deadline_s * 0.8, name="letter-sender-stop")

    async def partitions(self) -> list[int]:
        """Return the topic's partitions, without creating it. Raises `BrokerUnavailable`."""
        try:
            async with asyncio.timeout(self._deadline_s):
                producer = await self._producer.started()
                # Asking for one topic by name would create it where the broker allows that.
                metadata = await producer.client.fetch_all_metadata()
        except (KafkaError, OSError):
            self._producer.drop()
            raise BrokerUnavailable from None
        partitions = metadata.partitions_for_topic(self._topic)
        if not partitions:
            raise BrokerUnavailable
        return sorted(partitions)

    async def send(self, messages: list[Outgoing]) -> list[Place | str]:
        """Send messages, and return for each message its place, or an error code.

        The code is `MESSAGE_TOO_LARGE`, or `NOT_ACKNOWLEDGED`: the message may have arrived or not.
        """
        outcomes = await self._send(messages)
        refused = [index for index, outcome in enumerate(outcomes) if outcome == MESSAGE_TOO_LARGE]
        # One refused message fails the whole batch that it was sent in: send each of them again alone.
        for index in refused if len(messages) > 1 else []:
            if NOT_ACKNOWLEDGED not in outcomes:
                [outcomes[index]] = await self._send([messages[index]])
        if NOT_ACKNOWLEDGED in outcomes:
            self._producer.drop()
        return outcomes

    async def _send(self, messages: list[Outgoing]) -> list[Place | str]:
        sending = [asyncio.ensure_future(self._send_one(message)) for message in messages]
        done, late = await asyncio.wait(sending, timeout=self._deadline_s)
        for task in late:
            task.cancel()
        return [task.result() if task in done else NOT_ACKNOWLEDGED for task in sending]

    async def _send_one(self, message: Outgoing) -> Place | str:
        try:
            producer = await self._producer.started()
            sent = await producer.send_and_wait(
                self._topic, message.value, message.key, message.partition, headers=list(message.headers)
            )
        except MessageSizeTooLargeError:
            return MESSAGE_TOO_LARGE
        except (KafkaError, OSError):
            return NOT_ACKNOWLEDGED
        return sent.partition, sent.offset

    async def close(self) -> None:
        """Stop the producer, if it was ever started."""
        await self._producer.close()
