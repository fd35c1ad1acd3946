"""Checks that HTTP answers orders as they were published."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer

from handlers.value_formats import CONFLUENT_JSON, ENVELOPE, FRAME_BYTES
from orderflow.exits import Failed
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

_READ_TIMEOUT_S = 30


async def published_orders(settings: Settings, uids: set[str]) -> dict[str, dict[str, Any]]:
    """Read the orders with these uids from the topic, as they were published. Raises `Failed` if some are missing."""
    consumer = AIOKafkaConsumer(
        settings.kafka_topic, **kafka_options(settings), auto_offset_reset="earliest", isolation_level="read_committed"
    )
    orders: dict[str, dict[str, Any]] = {}
    await consumer.start()
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            while uids - orders.keys():
                message = await consumer.getone()
                order = published_order(message.value, settings.kafka_value_format)
                orders[order["order_uid"]] = order
    except TimeoutError:
        raise Failed(f"the topic {settings.kafka_topic!r} does not hold {len(uids - orders.keys())} orders") from None
    finally:
        await consumer.stop()
    return orders


def published_order(value: bytes, value_format: str) -> dict[str, Any]:
    """Return the order in a value that `orderflow publish` has written in this format."""
    document: dict[str, Any] = json.loads(value[FRAME_BYTES:] if value_format == CONFLUENT_JSON else value)
    return document["payload"] if value_format == ENVELOPE else document


def differences(published: Any, answered: Any, path: str = "") -> list[str]:
    """Return the paths, such as `items[0].price`, where the answer differs from the published order."""
    if isinstance(published, Mapping) and isinstance(answered, Mapping):
        paths = {name: f"{path}.{name}".lstrip(".") for name in published}
        found = [differences(published[name], answered.get(name), at) for name, at in paths.items()]
        return list(chain.from_iterable(found))
    if isinstance(published, list) and isinstance(answered, list):
        if len(published) != len(answered):
            return [path]
        pairs = enumerate(zip(published, answered, strict=True))
        return list(chain.from_iterable(differences(*pair, f"{path}[{index}]") for index, pair in pairs))
    if path == "date_created":
        return [] if _instant(published) == _instant(answered) else [path]
    return [] if published == answered and type(published) is type(answered) else [path]


def _instant(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


async def check_answer(session: aiohttp.ClientSession, address: str, published: dict[str, Any]) -> None:
    """Look the order up twice. Raises `Failed` when an answer differs from `published`, or from the other answer."""
    uid = published["order_uid"]
    bodies = []
    for times in ("first", "second"):
        async with session.get(f"{address}/order/{uid}") as answer:
            body = await answer.read()
            if answer.status != 200:  # noqa: PLR2004 (HTTP's own number)
                raise Failed(f"the {times} lookup of {uid} was answered with {answer.status}: {body[:200]!r}")
            if answer.headers.get("X-Cache") not in {"hit", "miss"}:
                raise Failed(f"the answer for {uid} has no X-Cache header that says hit or miss")
            bodies.append(body)
    if bodies[0] != bodies[1]:
        raise Failed(f"two lookups of {uid} were answered with different bytes")
    answered = json.loads(bodies[0])
    if wrong := differences(published, answered):
        raise Failed(f"the answer for {uid} is not what was published: {', '.join(wrong)}")
    if not {"created_at", "updated_at"} <= answered.keys():
        raise Failed(f"the answer for {uid} lacks created_at or updated_at")
