"""`GET /metrics` of the real system."""

import asyncpg
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from tests.support.eventually import consumed, eventually
from tests.support.programs import Programs, Running
from tests.support.queries import queries


async def test_what_the_engine_did_and_what_was_asked_is_counted(
    engine: Running, orderflow: Programs, database: asyncpg.Connection
) -> None:
    """Messages and rejects by worker and in all, lag, services, requests; and no personal data."""
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    published = await orderflow.run("publish", "20", "--invalid", "0.5", "--seed", "3")
    await consumed(database, 20)
    rejected = await database.fetchval("SELECT sum(rejected) FROM batches")
    uid = await database.fetchval("SELECT min(order_uid) FROM orders")
    assert uid in published.stdout
    async with ClientSession(url) as client:
        async with client.get(f"/order/{uid}") as answer:
            order = await answer.json()

        async def exposition() -> str:
            async with client.get("/metrics") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                return await answer.text()

        async def samples() -> dict[tuple[str, ...], float]:
            text = await exposition()
            for private in (*order["delivery"].values(), uid):
                assert private not in text
            return {
                (sample.name, *(sample.labels[name] for name in sorted(sample.labels.keys() - {"host", "supervisor"}))):
                sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }  # fmt: skip

        found = await eventually(samples, lambda found: found.get(("orderflow_messages_total",)) == 20)
        assert found["orderflow_worker_messages_total", "worker-0"] == 20
        assert found["orderflow_rejected_total",] == found["orderflow_worker_rejected_total", "worker-0"] == rejected
        assert [found["orderflow_partition_lag_messages", str(partition)] for partition in range(4)] == [0] * 4
        assert found["orderflow_service_up", "postgresql"] == found["orderflow_service_up", "kafka"] == 1
        assert found["orderflow_worker_partitions", "worker-0"] == 4
        assert found["orderflow_http_requests_total", "GET", "http", "/order/{order_uid}", "200"] == 1
        assert found["orderflow_http_request_seconds_count", "http", "/order/{order_uid}"] == 1

        recorded = await exposition()
        assert {query.expression: missing for query in queries() if (missing := query.missing_in(recorded))} == {}

        assert await engine.stop() == 0
        gone = await eventually(samples, lambda found: ("orderflow_worker_messages_total", "worker-0") not in found)
        assert gone["orderflow_messages_total",] == 20
        assert gone["orderflow_service_up", "engine"] == 0
