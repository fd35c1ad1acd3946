"""The other services for an engine with separate brokers: a database, a Redis database, and topics on the brokers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from orderflow.services import free_ports
from tests.support.brokers.operator import Operator
from tests.support.endpoints import Endpoints
from tests.support.isolation import PARTITIONS, own_database, own_redis_db, unique


@asynccontextmanager
async def surroundings(
    endpoints: Endpoints,
    template: str,
    kafka: Mapping[str, str],
    operator: Operator,
    partitions: int | None = PARTITIONS,
) -> AsyncIterator[dict[str, str]]:
    """Provide the settings of an engine that uses the brokers in `kafka`, which are settings, too.

    The topics have `partitions` and the default number of replicas. If `partitions` is None, the test must create the
    topic for orders. The topics are not deleted, because the brokers end with the test.
    """
    topic = unique("orders")
    names = {"KAFKA_TOPIC": topic, "KAFKA_DLQ_TOPIC": f"{topic}-dlq", "KAFKA_GROUP_ID": f"{topic}-group"}
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(own_database(endpoints.environment, template))
        redis_db = await stack.enter_async_context(own_redis_db(endpoints.environment))
        await operator.create_plain_topic(names["KAFKA_DLQ_TOPIC"], 1)
        if partitions is not None:
            await operator.create_plain_topic(topic, partitions)
        yield {
            **endpoints.environment,
            **kafka,
            **names,
            "KAFKA_PARTITIONS": str(partitions or PARTITIONS),
            "POSTGRES_DATABASE": database,
            "REDIS_DB": redis_db,
            "HTTP_ADDR": f"127.0.0.1:{free_ports(1)[0]}",
            "START_TIMEOUT_S": "20",
            "KAFKA_INITIAL_RETRY_DELAY_S": "0.1",
            "KAFKA_MAX_RETRY_DELAY_S": "1",
        }
