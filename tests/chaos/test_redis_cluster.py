"""A Redis Cluster that loses a primary, and moves slots, while orders are stored and looked up all the time."""

from collections.abc import AsyncIterator

import pytest

from orderflow.start.settings import Settings
from tests.chaos.fault_run import FaultRun
from tests.chaos.readers import readers
from tests.support.eventually import eventually
from tests.support.programs import Running
from tests.support.redis_servers import HOST, RedisCluster, RedisServer, redis_cluster, role_of

MOVED_SLOTS = 40


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisCluster]:
    async with redis_cluster(tmp_path_factory.mktemp("cluster"), replicas=1) as nodes:
        yield nodes


@pytest.fixture
def environment(environment: dict[str, str], cluster: RedisCluster) -> dict[str, str]:
    """Provide the test's environment with the cluster as Redis."""
    return {**environment, **cluster.environment}


async def move(slot: int, source: RedisServer, target: RedisServer) -> None:
    names = {node: await node.ask("CLUSTER", "MYID") for node in (source, target)}
    await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    while keys := await source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):  # type: ignore[no-untyped-call]
        await source.client.migrate(HOST, target.service.port, keys, 0, 5000)
    for node in (target, source):
        await node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target])


@pytest.mark.fault("18", "a Redis Cluster moves slots, and loses a primary")
async def test_ingest_and_lookups_go_on_while_slots_move_and_a_replica_takes_over(
    engine: Running, server: Running, cluster: RedisCluster, fault_run: FaultRun, settings: Settings
) -> None:
    """No lookup fails, no order is lost, and afterwards the cache has what PostgreSQL has, or nothing."""
    lost, [replica] = cluster.nodes[-1], cluster.replicas

    async def disturb() -> None:
        await fault_run.progress()
        for slot in range(MOVED_SLOTS):
            await move(slot, cluster.nodes[0], cluster.nodes[1])
        assert not server.seen("cache_lost")
        assert not engine.seen("outage_started", of="redis")
        await fault_run.progress()
        await lost.service.kill()
        await server.wait_for("cache_lost")
        await eventually(lambda: replica.client.info("replication"), lambda found: found["role"] == "master")
        await engine.wait_for("outage_ended", of="redis")
        await server.wait_for("cache_back")
        await fault_run.progress()
        await lost.service.start()
        fault_run.healed()
        await eventually(lambda: role_of(lost), "slave".__eq__)

    ledger = fault_run.ledger(change_share=0.4)
    async with readers(server, settings, fault_run.random) as crowd:
        report = await fault_run.under_load(disturb, ledger=ledger, messages=2500, per_second=300)
    assert report.violations == []
    fault_run.remark = crowd.check()
    assert await engine.stop() == 0
