"""The bare loop: consume one order, write it in one transaction, set it in Redis, and repeat.

    python -m bench.bare_loop      (the services are those of the environment; the database has the reference schema)

Prints a line when it has started, and runs until SIGTERM. It gives no guarantees. No program can be faster for a single
order.
"""

import asyncio
import json
import signal
from datetime import datetime

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.reference_tables import TABLES, rows_of
from orderflow.start.connections import kafka_options, postgres_options, redis_client
from orderflow.start.settings import Settings, load_settings

BEGUN = "consuming"
_INSERTS = {
    table: f"INSERT INTO {table} ({', '.join(columns)}) "
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(columns) + 1))})"
    for table, columns in TABLES.items()
}


async def _consume(settings: Settings) -> None:
    consumer = AIOKafkaConsumer(settings.kafka_topic, auto_offset_reset="earliest", **kafka_options(settings))
    await consumer.start()
    database = await asyncpg.connect(**postgres_options(settings))
    print(BEGUN, flush=True)
    try:
        async with redis_client(settings) as redis:
            async for record in consumer:
                order = json.loads(record.value)
                rows = rows_of(order, datetime.fromisoformat(order["date_created"]))
                async with database.transaction():
                    for table, insert in _INSERTS.items():
                        await database.executemany(insert, rows[table])
                await redis.set(f"order:{order['order_uid']}", record.value, ex=settings.redis_ttl_s)
    finally:
        await consumer.stop()
        await database.close()


async def _main() -> None:
    task = asyncio.ensure_future(_consume(load_settings()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


if __name__ == "__main__":
    uvloop.run(_main())
