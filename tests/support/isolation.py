"""A separate database, topics and Redis database for each test, in services that may be shared."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.commands.topics import create_topics
from orderflow.start.connections import kafka_options, postgres_options, redis_client
from orderflow.start.settings import Settings, parse_settings
from tests.support.side_by_side import share

PARTITIONS = 4
_TOPIC_TIMEOUT_S = 20
_REDIS_DBS = range(1, 16)[share()[0] :: share()[1]]
_redis_dbs_in_use: set[tuple[str, int]] = set()


def unique(prefix: str) -> str:
    """Return a name that is not used elsewhere."""
    return f"{prefix}_{token_hex(6)}"


async def connect(environment: Mapping[str, str]) -> asyncpg.Connection:
    """Connect to the database that `environment` names."""
    return await asyncpg.connect(**postgres_options(parse_settings(environment)))


@asynccontextmanager
async def own_database(
    environment: Mapping[str, str], template: str = "template0", strategy: str = "WAL_LOG"
) -> AsyncIterator[str]:
    """Provide the name of a new database, a copy of `template`. Drops it afterwards, even if it has connections.

    The strategy FILE_COPY is faster for large databases.
    """
    name = unique("orderflow_test")
    maintenance = await connect(environment)
    try:
        await maintenance.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {strategy}')
    finally:
        await maintenance.close()
    try:
        yield name
    finally:
        maintenance = await connect(environment)
        try:
            await maintenance.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await maintenance.close()


@asynccontextmanager
async def own_topics(environment: Mapping[str, str], partitions: int = PARTITIONS) -> AsyncIterator[dict[str, str]]:
    """Create a topic and its dead-letter topic, and provide their settings. Deletes them afterwards."""
    name = unique("orders")
    names = {"KAFKA_TOPIC": name, "KAFKA_DLQ_TOPIC": f"{name}-dlq", "KAFKA_GROUP_ID": f"{name}-group"}
    settings = parse_settings({**environment, **names})
    wanted = {settings.kafka_topic: partitions, settings.kafka_dlq_topic: 1}
    await create_topics(settings, wanted)
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        await wait_for_leaders(admin, wanted)
    finally:
        await admin.close()
    try:
        yield {**names, "KAFKA_PARTITIONS": str(partitions)}
    finally:
        await delete_topics(settings, list(wanted))


async def wait_for_leaders(admin: AIOKafkaAdminClient, wanted: Mapping[str, int]) -> None:
    """Wait until each topic has the given number of partitions, and each partition a leader."""
    async with asyncio.timeout(_TOPIC_TIMEOUT_S):
        while True:
            described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(wanted))}
            led = {name: sum(each["leader"] >= 0 for each in parts) for name, parts in described.items()}
            if led == dict(wanted):
                return
            await asyncio.sleep(0.02)


async def delete_topics(settings: Settings, names: list[str]) -> None:
    """Delete topics. A topic that does not exist is not an error."""
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()


@asynccontextmanager
async def own_redis_db(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Provide the number of an empty Redis database, and empty it afterwards."""
    address = environment["REDIS_ADDR"]
    for number in _REDIS_DBS:
        if (address, number) in _redis_dbs_in_use:
            continue
        settings = parse_settings({**environment, "REDIS_DB": str(number)})
        async with redis_client(settings, timeout_s=10) as client:
            if await client.dbsize():
                continue
        _redis_dbs_in_use.add((address, number))
        try:
            yield str(number)
        finally:
            async with redis_client(settings, timeout_s=10) as client:  # the test may have restarted the server
                await client.flushdb()
            _redis_dbs_in_use.discard((address, number))
        return
    raise AssertionError(f"none of the Redis databases {[*_REDIS_DBS]} is empty: empty one, or unset TEST_REDIS_URL")
