"""Changes topics as an operator may do: sets other limits, deletes a topic, creates it again with the same name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from orderflow.commands.topics import create_topics
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import delete_topics, wait_for_leaders


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**kafka_options(settings))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def configure_topic(settings: Settings, topic: str, **configs: str) -> None:
    """Replace the configuration of a topic. In the names of `configs`, `_` stands for `.`."""
    values = {name.replace("_", "."): value for name, value in configs.items()}
    async with _admin(settings) as admin:
        [answer] = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, values)])
        assert [resource[0] for resource in answer.resources] == [0], answer


async def delete_topic(settings: Settings, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    await delete_topics(settings, [topic])
    async with _admin(settings) as admin:
        await eventually(admin.list_topics, lambda names: topic not in names)


async def create_topic(settings: Settings, topic: str, partitions: int) -> None:
    """Create a topic, and wait until messages can be written to it."""
    await create_topics(settings, {topic: partitions})
    async with _admin(settings) as admin:
        await wait_for_leaders(admin, {topic: partitions})
