"""`orderflow topics`: creates the topics that orderflow needs."""

import asyncio

import click
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from orderflow.exits import Failed
from orderflow.help import Group
from orderflow.progress import say
from orderflow.start.brokers import wait_for_broker
from orderflow.start.connections import kafka_options
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import Settings, load_settings


@click.group(
    cls=Group,
    examples={
        "orderflow topics create": "existing topics do not change",
        "orderflow doctor": "check that they exist",
    },
)
def topics() -> None:
    """Create the topics of orders and of dead letters."""


@topics.command(
    short_help="Create the missing topics.",
    examples={
        "orderflow topics create": "with KAFKA_PARTITIONS (4)",
        "KAFKA_PARTITIONS=12 orderflow topics create": "for more workers",
    },
)
def create() -> None:
    """Create the missing topics: KAFKA_TOPIC with KAFKA_PARTITIONS, KAFKA_DLQ_TOPIC with one partition."""
    quieten_libraries()
    asyncio.run(_create(load_settings()))


async def _create(settings: Settings) -> None:
    existing = await wait_for_broker(settings)
    wanted = {settings.kafka_topic: settings.kafka_partitions, settings.kafka_dlq_topic: 1}
    for name in sorted(wanted.keys() & existing):
        say(f"The topic {name!r} exists")
    missing = {name: partitions for name, partitions in wanted.items() if name not in existing}
    if not missing:
        return
    try:
        await create_topics(settings, missing)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Failed(f"Kafka did not create {', '.join(missing)}: {type(error).__name__}: {error}") from None
    for name, partitions in missing.items():
        say(f"Created the topic {name!r} with {partitions} partition{'s' if partitions > 1 else ''}")


async def create_topics(settings: Settings, partitions: dict[str, int]) -> None:
    """Create topics, given as name → number of partitions, with the broker's default replication factor.

    A topic that already exists is no error. Raises `KafkaError` or `OSError`.
    """
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        await admin.start()
        # With an empty assignment instead of None, aiokafka accepts -1 (the broker's default).
        new = [NewTopic(name, count, -1, replica_assignments={}) for name, count in partitions.items()]
        answer = await admin.create_topics(new)
        for name, code, *message in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"{name}: {message[0] if message else code}")
    finally:
        await admin.close()
