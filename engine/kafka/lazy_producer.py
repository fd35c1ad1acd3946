"""A Kafka producer that starts on first use, and can be dropped after an error without waiting for it."""

import asyncio
from typing import Any

from engine.kafka.producer import KafkaProducer

MAX_REQUEST_BYTES = 64 * 1024 * 1024
CLOSE_DEADLINE_S = 5.0


class LazyProducer:
    """Holds one producer. `options` are aiokafka's. `name` is the name of the task that stops the producer."""

    def __init__(self, options: dict[str, Any], *, request_timeout_s: float, name: str) -> None:
        self._options = options
        self._request_timeout_s = request_timeout_s
        self._name = name
        self._producer: KafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    async def started(self) -> KafkaProducer:
        """Return the producer. Starts it if necessary. Raises `KafkaError` or `OSError`."""
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    async def _start(self) -> KafkaProducer:
        producer = KafkaProducer(
            acks="all",
            # An idempotent producer would retry for ever and could not be stopped.
            enable_idempotence=False,
            request_timeout_ms=int(self._request_timeout_s * 1000),
            retry_backoff_ms=500,
            max_request_size=MAX_REQUEST_BYTES,
            **self._options,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def drop(self) -> None:
        """Drop the producer. It stops in the background, at the latest when its unsent messages have expired."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stop = asyncio.create_task(producer.stop(), name=self._name)
            self._stopping.add(stop)
            stop.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Stop the producer if it was started. Waits for at most `CLOSE_DEADLINE_S` seconds."""
        self.drop()
        if self._stopping:
            await asyncio.wait(self._stopping, timeout=CLOSE_DEADLINE_S)
