"""Rights that Kafka's operator takes away and gives back while the engine runs."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orderflow.start.settings import Settings, parse_settings
from tests.chaos.engines import all_open, drain
from tests.chaos.partitions import ALL, made_orders, send_orders, until_at_end, until_stored
from tests.support.brokers.rights import PASSWORD, GuardedBroker, guarded_broker
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
DENIED_S = 4.0
WITHIN_S = 60.0


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedBroker]:
    """Provide a broker that asks for rights."""
    async with guarded_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def environment(endpoints: Endpoints, template: str, guarded: GuardedBroker) -> AsyncIterator[dict[str, str]]:
    """Let the engine log in there."""
    async with surroundings(endpoints, template, guarded.environment, guarded.broker.operator) as found:
        yield found


@pytest.mark.fault("30", "READ on the group withdrawn for 4 s", short=True)
async def test_an_engine_goes_on_when_its_group_may_be_read_again(
    orderflow: Programs, guarded: GuardedBroker, environment: dict[str, str], database: asyncpg.Connection
) -> None:
    """Unaided, within a minute, with the same log in; the password is in no line."""
    settings = parse_settings(environment)
    engine = await all_open(orderflow)
    group = settings.kafka_group_id
    await guarded.deny_group(group)
    await engine.wait_for("outage_started", of="kafka", timeout_s=30)
    await asyncio.sleep(DENIED_S)
    await guarded.allow_group(group)
    await consumes_again(database, guarded, settings, 111)
    await drain(engine)
    assert PASSWORD not in "\n".join(engine.stderr_lines)


@pytest.mark.fault("30", "READ on the topic withdrawn for 4 s")
async def test_an_engine_goes_on_when_its_topic_may_be_read_again(
    orderflow: Programs, guarded: GuardedBroker, environment: dict[str, str], database: asyncpg.Connection
) -> None:
    """Unaided, within a minute; what was published meanwhile is stored too."""
    settings = parse_settings(environment)
    engine = await all_open(orderflow)
    await guarded.deny_topic(settings.kafka_topic)
    await engine.wait_for("outage_started", of="kafka", timeout_s=30)
    await asyncio.sleep(DENIED_S)
    await guarded.allow_topic(settings.kafka_topic)
    await consumes_again(database, guarded, settings, 112)
    await drain(engine)


async def consumes_again(database: asyncpg.Connection, guarded: GuardedBroker, settings: Settings, seed: int) -> None:
    """Publish to every partition from now on, and wait a minute at most until all is stored."""
    given_back_s = time.monotonic()
    # Asked and published in plain and without a login: the rights of the engine's user are not the test's.
    plain = parse_settings(
        {
            "KAFKA_BROKERS": guarded.broker.bootstrap,
            "KAFKA_TOPIC": settings.kafka_topic,
            "KAFKA_GROUP_ID": settings.kafka_group_id,
        }
    )
    orders = made_orders(seed, 5 * PARTITIONS)
    for partition in ALL:
        await send_orders(plain, orders[partition::PARTITIONS], partition)
    await until_stored(database, orders, WITHIN_S - (time.monotonic() - given_back_s))
    await until_at_end(database, plain)
