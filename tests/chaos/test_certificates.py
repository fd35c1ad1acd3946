"""Certificates that are replaced while the engine runs, as they are before they expire."""

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orderflow.start.settings import Settings, parse_settings
from tests.chaos.engines import all_open, drain
from tests.chaos.partitions import ALL, made_orders, send_orders, until_stored
from tests.support.brokers.encrypted import EncryptedBroker, encrypted_broker
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
WITHIN_S = 60.0


@pytest.fixture(scope="module")
async def encrypted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EncryptedBroker]:
    """Provide a broker that speaks TLS."""
    async with encrypted_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def environment(endpoints: Endpoints, template: str, encrypted: EncryptedBroker) -> AsyncIterator[dict[str, str]]:
    """Lead the engine there."""
    async with surroundings(endpoints, template, encrypted.environment, encrypted.broker.operator) as found:
        yield found


@pytest.mark.fault("30", "the certificate and its authority replaced")
async def test_an_engine_goes_on_with_a_new_authority(
    orderflow: Programs, encrypted: EncryptedBroker, settings: Settings, database: asyncpg.Connection
) -> None:
    """While the file is still the old one, the log names the certificate; with the new one it goes on unaided."""
    plain = parse_settings({"KAFKA_BROKERS": encrypted.broker.bootstrap, "KAFKA_TOPIC": settings.kafka_topic})
    engine = await all_open(orderflow)
    before, after = made_orders(131, 5 * PARTITIONS), made_orders(132, 5 * PARTITIONS)
    for partition in ALL:
        await send_orders(plain, before[partition::PARTITIONS], partition)
    await until_stored(database, before)

    await encrypted.replace_certificate()
    told = await engine.wait_for_line("certificate", timeout_s=WITHIN_S)
    assert '"outage_' in told
    assert '"of":"kafka"' in told
    encrypted.replace_authority()
    mended_s = time.monotonic()
    for partition in ALL:
        await send_orders(plain, after[partition::PARTITIONS], partition)
    await until_stored(database, after, WITHIN_S - (time.monotonic() - mended_s))
    assert engine.seen("worker_died") == []
    await drain(engine)
