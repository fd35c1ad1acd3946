"""`orderflow doctor` where Kafka asks who may do what."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from lookup.operations.broker_check import BrokerCheck
from lookup.operations.health import Unhealthy
from msgspec import json

from orderflow.doctor.rights_checks import CHECKS
from orderflow.start.connections import kafka_options
from orderflow.start.settings import parse_settings
from tests.support.brokers.rights import USER, GuardedBroker, guarded_broker
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.programs import Programs

READING, WRITING, JOINING = CHECKS
REDIS = "Redis memory"
"""It may have evicted what another test stored."""


async def failures(orderflow: Programs) -> dict[str, str]:
    """Run the doctor; return the message of each check that failed."""
    ended = await orderflow.run("doctor", "--json")
    found: list[dict[str, Any]] = json.decode(ended.stdout)
    # The machine's Redis may have evicted what another test stored.
    failed = {
        one["check"]: one["message"] for one in found if one["outcome"] == "failed" and "Redis" not in one["check"]
    }
    assert ended.returncode == (1 if failed else 0), ended.stdout
    return failed


async def deny(guarded: GuardedBroker, topic: str, operation: AclOperation) -> None:
    """Take a right on a topic away."""
    rule = AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, AclPermissionType.DENY
    )
    client = AdminClient({"bootstrap.servers": guarded.broker.bootstrap, "log_level": 0})
    [answer] = client.create_acls([rule]).values()
    await asyncio.to_thread(answer.result, 20)


@pytest.mark.long
async def test_each_right_that_is_missing_is_named_with_the_command_that_gives_it(
    endpoints: Endpoints, template: str, tmp_path: Path
) -> None:
    """READ on the group, READ on the orders, WRITE on the dead letters; and a topic that is hidden is not missing."""
    async with (
        guarded_broker(tmp_path) as guarded,
        surroundings(endpoints, template, guarded.environment, guarded.broker.operator) as environment,
    ):
        orderflow = Programs(environment, tmp_path, mark="rights")
        try:
            assert await failures(orderflow) == {}

            topic, group, letters = (environment[name] for name in ("KAFKA_TOPIC", "KAFKA_GROUP_ID", "KAFKA_DLQ_TOPIC"))
            await guarded.deny_group(group)
            found = await failures(orderflow)
            assert list(found) == [JOINING]
            assert f"User:{USER} lacks READ on the group '{group}'" in found[JOINING]
            given = f"--add --allow-principal User:{USER} --operation READ --group {group}`"
            assert f"kafka-acls --bootstrap-server {environment['KAFKA_BROKERS']} " in found[JOINING]
            assert given in found[JOINING]
            await guarded.allow_group(group)

            await guarded.deny_topic(topic)
            await deny(guarded, letters, AclOperation.WRITE)
            found = await failures(orderflow)
            assert list(found) == [READING, WRITING]
            assert f"lacks READ on the topic '{topic}'" in found[READING]
            assert f"--operation WRITE --topic {letters}`" in found[WRITING]

            await deny(guarded, topic, AclOperation.DESCRIBE)
            found = await failures(orderflow)
            assert f"'{topic}' is hidden from this login" in found["Topic of orders"]
            assert "topics create" not in found["Topic of orders"]
            asked = await orderflow.run("lag")
            assert (asked.returncode, "hides the topic" in asked.stderr) == (3, True), asked.stderr
            check = BrokerCheck(kafka_options(parse_settings(environment)), topic, 5)
            with pytest.raises(Unhealthy, match="hidden from this login"):
                await check()
            await check.close()
        finally:
            await orderflow.close()
