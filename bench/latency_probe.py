"""Publishes orders at a steady rate, and measures for each the time from its acknowledgement until it is in Redis.

    python -m bench.latency_probe RATE SECONDS SEED      (the services are those of the environment)

Prints a JSON object: `latencies_ms` in the order of sending, and `errors_ms`, the measurement errors of these times. It
is a separate process, so that no other work delays its clock.
"""

import asyncio
import json
import sys
from itertools import islice
from time import monotonic
from typing import Any

import uvloop
from aiokafka import AIOKafkaProducer

from bench.orders import encoded_orders
from bench.visibility import error_of_visibility, visibility
from orderflow.start.connections import kafka_options, redis_client
from orderflow.start.settings import Settings, load_settings

_CALIBRATIONS = 200
_LAST_TIMEOUT_S = 30.0
_POLL_S = 0.05


def main() -> None:
    """Read the arguments, measure, and print the result."""
    rate, seconds, seed = (float(argument) for argument in sys.argv[1:])
    print(json.dumps(uvloop.run(_probe(load_settings(), rate, int(rate * seconds), int(seed)))))


async def _probe(settings: Settings, rate: float, count: int, seed: int) -> dict[str, list[float]]:
    async with redis_client(settings) as redis, visibility(settings, redis) as watch:
        errors = await error_of_visibility(watch, redis, _CALIBRATIONS)
        acknowledged = await _publish(settings, rate, count, seed)
        await _until_seen(watch.seen, acknowledged)
        latencies = [watch.seen[uid] - answered for uid, answered in acknowledged.items()]
    return {"latencies_ms": [1000 * one for one in latencies], "errors_ms": [1000 * one for one in errors]}


async def _until_seen(seen: dict[bytes, float], acknowledged: dict[bytes, float]) -> None:
    try:
        async with asyncio.timeout(_LAST_TIMEOUT_S):
            while not acknowledged.keys() <= seen.keys():  # noqa: ASYNC110 (nothing is measured any more)
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        missing = len(acknowledged.keys() - seen.keys())
        sys.exit(f"{missing} of {len(acknowledged)} orders never became visible")


async def _publish(settings: Settings, rate: float, count: int, seed: int) -> dict[bytes, float]:
    """Send `count` orders at `rate` per second, without waiting for answers. Returns acknowledgement times by uid."""
    acknowledged: dict[bytes, float] = {}
    orders = list(islice(encoded_orders(seed), count))
    producer = AIOKafkaProducer(acks="all", **kafka_options(settings))
    await producer.start()
    try:
        answers = []
        began = monotonic()
        for number, order in enumerate(orders):
            due = began + number / rate
            if (wait_s := due - monotonic()) > 0:
                await asyncio.sleep(wait_s)
            answer = await producer.send(settings.kafka_topic, order.value, order.uid)
            answer.add_done_callback(_AcknowledgementTime(acknowledged, order.uid))
            answers.append(answer)
        await asyncio.gather(*answers)
    finally:
        await producer.stop()
    return acknowledged


class _AcknowledgementTime:
    """Records when an order was acknowledged."""

    def __init__(self, acknowledged: dict[bytes, float], uid: bytes) -> None:
        self._acknowledged = acknowledged
        self._uid = uid

    def __call__(self, answer: "asyncio.Future[Any]") -> None:
        if answer.exception() is None:
            self._acknowledged[self._uid] = monotonic()


if __name__ == "__main__":
    main()
