"""The yardstick: a deliberately simple consumer without guarantees, for comparisons that everyone can repeat.

    python -m bench.yardstick BROKER TOPIC TOTAL BATCH PROCESSES DSN REDIS_URL

Consumes TOTAL orders from the beginning of TOPIC and writes them into the reference schema, BATCH orders per
transaction, and then into Redis. Prints `… = N/s`. It uses aiokafka, json, asyncpg's COPY and redis-py's pipeline, as
in a simple first implementation.
"""

import asyncio
import json
import multiprocessing
import sys
import time
from datetime import datetime
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from bench.reference_tables import TABLES, Rows, rows_of

_TTL_S = 3600
_FETCH_BYTES = 4 << 20


def main() -> None:
    """Divide the partitions among the processes, and print their total rate."""
    broker, topic, total, batch, processes, dsn, redis_url = sys.argv[1:]
    count = int(processes)
    arguments = [(broker, topic, int(batch), index, count, dsn, redis_url) for index in range(count)]
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        results = pool.map(_consume_share, arguments)
    consumed = sum(result[0] for result in results)
    seconds = max(result[2] for result in results) - min(result[1] for result in results)
    if consumed != int(total):
        sys.exit(f"yardstick: the topic holds {consumed} orders, not {total}")
    print(f"yardstick: {consumed} in {seconds:.2f} s = {consumed / seconds:.0f}/s")


def _consume_share(arguments: tuple[Any, ...]) -> tuple[int, float, float]:
    return asyncio.run(_consume(*arguments))


async def _consume(
    broker: str, topic: str, batch: int, index: int, processes: int, dsn: str, redis_url: str
) -> tuple[int, float, float]:
    """Consume the partitions of this process to their end. Returns the number of orders, and the start and end time."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker, auto_offset_reset="earliest", max_partition_fetch_bytes=_FETCH_BYTES
    )
    await consumer.start()
    places = [place for place in sorted(consumer.assignment()) if place.partition % processes == index]
    consumer.unsubscribe()
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    total = sum((await consumer.end_offsets(places)).values())
    database, redis = await asyncpg.connect(dsn), Redis.from_url(redis_url)
    consumed, began = 0, 0.0
    try:
        while consumed < total:
            records = await _next_records(consumer, batch)
            began = began or time.time()
            await _write(database, redis, records)
            consumed += len(records)
    finally:
        await consumer.stop()
        await database.close()
        await redis.aclose()
    return consumed, began, time.time()


async def _next_records(consumer: AIOKafkaConsumer, batch: int) -> list[Any]:
    fetched: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=1000, max_records=batch)
    return [record for records in fetched.values() for record in records]


async def _write(database: asyncpg.Connection, redis: Redis, records: list[Any]) -> None:
    rows: Rows = {table: [] for table in TABLES}
    for record in records:
        order = json.loads(record.value)
        for table, its_rows in rows_of(order, datetime.fromisoformat(order["date_created"])).items():
            rows[table] += its_rows
    async with database.transaction():
        for table, columns in TABLES.items():
            await database.copy_records_to_table(table, columns=columns, records=rows[table])
    async with redis.pipeline(transaction=False) as pipeline:
        for record in records:
            pipeline.set(f"order:{record.key.decode()}", record.value, ex=_TTL_S)
        await pipeline.execute()


if __name__ == "__main__":
    main()
