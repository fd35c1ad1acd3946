"""Some partitions have lost the only broker that had them: the others are told of as ever, and what is missing is."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from orderflow.start.settings import parse_settings
from tests.support.brokers.cluster import three_brokers
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.lookup_server import lookup_server
from tests.support.programs import Programs
from tests.support.topic import send


@pytest.mark.fault("31", "two of four partitions have no leader: the lag of the others is told")
async def test_partitions_without_a_leader_hide_nothing_of_the_others(
    endpoints: Endpoints, template: str, tmp_path: Path
) -> None:
    """By the command, operations, health and the doctor."""
    async with (
        three_brokers(tmp_path) as cluster,
        surroundings(
            endpoints, template, {"KAFKA_BROKERS": cluster.bootstrap}, cluster.operator, partitions=None
        ) as environment,
    ):
        settings, operator = parse_settings(environment), cluster.operator
        await operator.create_topic(settings.kafka_topic, {0: [1], 1: [2], 2: [3], 3: [3]})
        for partition in range(4):
            await send(settings, (None, b"one"), partition=partition)
        orderflow = Programs(environment, tmp_path, mark="leaderless")
        try:
            async with lookup_server(settings, operations_deadline_s=5.0, health_deadline_s=5.0) as server:
                await cluster.brokers[3].kill()
                await operator.until_leaderless(settings.kafka_topic, [2, 3])

                ended = await orderflow.run("lag", "--json")
                assert ended.returncode == 0, ended.stderr
                assert [one["lag"] for one in json.decode(ended.stdout)] == [1, 1, None, None]
                _, *lines, total = (await orderflow.run("lag")).lines
                assert [line.endswith("no leader") for line in lines] == [False, False, True, True]
                assert total.split()[:3] == ["total", "2", "–"]
                assert total.endswith("without 2 of 4 partitions, whose lag is unknown")
                assert all(one["lag_s"] >= 0 for one in json.decode(ended.stdout)[:2])

                async def get(path: str) -> dict[str, Any]:
                    async with server.client.get(path) as answer:
                        found: dict[str, Any] = await answer.json()
                        return found

                kafka = (await get("/healthz"))["checks"]["kafka"]
                assert (kafka["status"], kafka["brokers"], kafka["no_leader"]) == ("unavailable", 2, [2, 3])
                partitions = (await get("/operations/snapshot"))["partitions"]
                assert [one["lag"] for one in partitions] == [1, 1, None, None]
                doctor = json.decode((await orderflow.run("doctor", "--json")).stdout)
                [told] = [one for one in doctor if one["check"] == "Partitions' leaders"]
                assert told["outcome"] == "failed"
                assert "no broker leads partition 2, 3" in told["message"]
        finally:
            await orderflow.close()
