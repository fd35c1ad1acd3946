"""What is seen from outside of single partitions: how far each is stored, and which are refused and why."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import psutil
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.checker import stored_offsets
from tests.support.brokers.operator import operator_of
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Running
from tests.support.topic import send

ALL = range(PARTITIONS)
_REFUSED = """
SELECT details->'refused' FROM workers
WHERE state <> 'dead' AND heartbeat_at > clock_timestamp() - make_interval(secs => 5)
"""


def made_orders(seed: int, count: int) -> list[dict[str, Any]]:
    """Return `count` orders, the same for the same seed."""
    generator = OrderGenerator(seed)
    return [generator.order() for _ in range(count)]


def uids(orders: Iterable[dict[str, Any]]) -> set[str]:
    """Return the uids of orders."""
    return {order["order_uid"] for order in orders}


async def send_orders(settings: Settings, orders: Sequence[dict[str, Any]], partition: int) -> list[int]:
    """Publish orders to one partition, each in a batch of its own; return their offsets."""
    messages = [(order["order_uid"].encode(), json.encode(order)) for order in orders]
    return [offset for _partition, offset in await send(settings, *messages, partition=partition)]


async def stored_uids(database: asyncpg.Connection) -> set[str]:
    """Return the uids of all orders that are stored."""
    return {row[0] for row in await database.fetch("SELECT order_uid FROM orders")}


async def until_stored(database: asyncpg.Connection, orders: Iterable[dict[str, Any]], timeout_s: float = 20) -> None:
    """Wait until all these orders are stored. Fails with how many are missing."""
    wanted = uids(orders)

    async def missing() -> int:
        return len(wanted - await stored_uids(database))

    await eventually(missing, lambda count: count == 0, timeout_s)


async def until_at_end(
    database: asyncpg.Connection, settings: Settings, partitions: Iterable[int] = ALL, timeout_s: float = 20
) -> None:
    """Wait until the stored offsets of these partitions are the broker's ends, transaction markers included."""
    places = list(partitions)
    ends = await operator_of(settings).ends(settings.kafka_topic, places)

    async def behind() -> dict[int, tuple[int | None, int]]:
        stored = await stored_offsets(database, settings)
        return {place: (stored.get(place), ends[place]) for place in places if stored.get(place) != ends[place]}

    await eventually(behind, lambda found: not found, timeout_s)


async def refusals(database: asyncpg.Connection) -> dict[int, dict[str, Any]]:
    """Return what the living workers tell of the partitions that they refuse."""
    found: dict[int, dict[str, Any]] = {}
    for row in await database.fetch(_REFUSED):
        told = json.decode(row[0]) if row[0] else {}
        found |= {int(partition): refusal for partition, refusal in told.items()}
    return found


async def until_refused(
    engine: Running, database: asyncpg.Connection, partition: int, reason: str, timeout_s: float = 40
) -> dict[str, Any]:
    """Wait until the log and the workers' table say that a partition, and no other, is refused; return the log line."""
    line = await engine.wait_for("partition_refused", partition=partition, timeout_s=timeout_s)
    told = await eventually(lambda: refusals(database), lambda found: list(found) == [partition])
    assert line["reason"] == reason, line
    assert told[partition]["reason"] == reason
    assert (told[partition]["offset"], told[partition]["fix"]) == (line["offset"], line["fix"])
    assert told[partition]["detail"]
    return line


async def none_refused(database: asyncpg.Connection, timeout_s: float = 20) -> None:
    """Wait until no worker tells of a refused partition."""
    await eventually(lambda: refusals(database), lambda found: not found, timeout_s)


async def share_of_a_core(processes: Sequence[psutil.Process], watched_s: float) -> float:
    """Return the processor time that these processes take in `watched_s` seconds, as a share of one core."""

    def taken() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before = taken()
    await asyncio.sleep(watched_s)  # what is measured is the time in which nothing happens
    return (taken() - before) / watched_s
