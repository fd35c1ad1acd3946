"""The cache in a Redis Cluster of three nodes, which is recognised by its answers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import attrs
import pytest
from redis.crc import key_slot

from engine.postgres.link import Link
from engine.telemetry.trace_context import new_traceparent
from handlers.body import body_end, finish_body
from handlers.cache import OrderCache, versioned_trace
from handlers.cache_recovery import CacheRecovery
from orderflow.exits import CannotStart
from orderflow.publishing.orders import OrderGenerator
from orderflow.services import free_ports
from orderflow.start.connections import cache_servers, postgres_options
from orderflow.start.redis import check_redis
from orderflow.start.settings import Settings, parse_settings
from tests.support.eventually import eventually
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.redis_servers import RedisCluster, redis_cluster
from tests.support.stored_orders import make_order, store_order

TTL_S = 3600
WRITTEN_AT = datetime(2026, 2, 3, tzinfo=UTC)
UIDS = [f"uid-{number}" for number in range(600)]


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisCluster]:
    async with redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
async def empty(cluster: RedisCluster) -> RedisCluster:
    """Provide the cluster without a key."""
    for node in cluster.nodes:
        await node.client.flushall()
    return cluster


@pytest.fixture
def clustered(settings: Settings, cluster: RedisCluster) -> Settings:
    """Provide the test's settings with one node of the cluster as Redis."""
    return attrs.evolve(settings, redis_addresses=cluster.nodes[0].settings.redis_addresses, redis_db=0)


@pytest.fixture
async def cache(empty: RedisCluster, clustered: Settings) -> AsyncIterator[OrderCache]:
    found = OrderCache(cache_servers(clustered), TTL_S)
    yield found
    await found.aclose()


def body(uid: str, second: int) -> bytes:
    moment = WRITTEN_AT + timedelta(seconds=second)
    return finish_body(b'{"order_uid":"%b","entry":""}' % uid.encode(), body_end(moment, moment))


def bodies(second: int) -> dict[str, bytes]:
    return {uid: body(uid, second) for uid in UIDS}


async def test_orders_are_cached_on_every_node_and_never_go_back(cache: OrderCache, empty: RedisCluster) -> None:
    """With their traces; an older version replaces none, and what is outdated is dropped."""
    newer, traceparent = bodies(2), new_traceparent()
    traces = [(uid, versioned_trace(newer[uid], traceparent)) for uid in UIDS[:9]]
    assert await cache.put_many(list(newer.items()), traces) == 0
    await cache.put_many(list(bodies(1).items()))
    found = await cache.get_many([*UIDS, "unknown"])
    assert (found, found.traces) == (newer, dict.fromkeys(UIDS[:9], traceparent))
    assert all([await node.client.dbsize() > 100 for node in empty.nodes])
    assert await cache.drop_older([(uid, b"9" * 29) for uid in UIDS[:50]]) == 50
    assert await cache.get_many(UIDS) == {uid: newer[uid] for uid in UIDS[50:]}


async def test_keys_whose_slot_is_being_moved_are_read_and_written(cache: OrderCache, empty: RedisCluster) -> None:
    """Where they are already, and where they are not yet; and afterwards at their new node."""
    await cache.put_many(list(bodies(1).items()))
    key = f"order:{UIDS[0]}".encode()
    source, slot = empty.owner(key), key_slot(key)
    target = next(node for node in empty.nodes if node is not source)
    names = {node: await node.ask("CLUSTER", "MYID") for node in empty.nodes}
    try:
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        assert await cache.get_many(UIDS) == bodies(1)
        keys = [f"order:{uid}".encode() for uid in UIDS if key_slot(f"order:{uid}".encode()) == slot]
        await source.client.migrate("127.0.0.1", target.service.port, keys, 0, 5000)
        assert await cache.get_many(UIDS) == bodies(1)
        assert await cache.put_many(list(bodies(2).items())) == 0
        assert await cache.get_many(UIDS) == bodies(2)
        for node in (target, source):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        assert await cache.put_many(list(bodies(3).items())) == 0
        assert await cache.get_many(UIDS) == bodies(3)
        assert await target.client.get(key) == bodies(3)[UIDS[0]]
    finally:
        for node in empty.nodes:
            await node.client.flushall()
        for node in (source, target, *empty.nodes):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[source])


async def test_only_the_node_that_may_have_lost_writes_is_searched_for_old_answers(
    cache: OrderCache, empty: RedisCluster, clustered: Settings, database: asyncpg.Connection
) -> None:
    """The others keep what they have: it was not lost."""
    generator = OrderGenerator(seed=8)
    orders = [make_order(generator) for _ in range(30)]
    for order in orders:
        await store_order(database, order)
    await database.execute("UPDATE orders SET updated_at = now()")
    uids = [order.order_uid for order in orders]
    link = Link(postgres_options(clustered))
    recovery = CacheRecovery(cache, link, TTL_S)
    try:
        await recovery.recover()
        known = await database.fetchval("SELECT run_id FROM cache_servers")
        assert len(known.split(",")) == len(empty.nodes)

        await cache.put_many([(uid, body(uid, 1)) for uid in uids])
        changed = (await empty.nodes[1].client.info("server"))["run_id"]
        await database.execute("UPDATE cache_servers SET run_id = replace(run_id, $1, 'another')", changed)
        await recovery.recover()
    finally:
        await link.close()
    kept = {uid for uid in uids if empty.owner(f"order:{uid}".encode()) is not empty.nodes[1]}
    assert 0 < len(kept) < len(uids)
    assert set(await cache.get_many(uids)) == kept
    assert await database.fetchval("SELECT run_id FROM cache_servers") == known


@pytest.fixture
async def server(empty: RedisCluster, clustered: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(clustered) as running:
        yield running


async def test_without_one_node_postgresql_answers_and_the_cluster_is_found_again(
    server: LookupServer, cluster: RedisCluster, clustered: Settings, database: asyncpg.Connection
) -> None:
    """Every order is found while the node is silent and while it is gone; then there are hits again."""
    generator = OrderGenerator(seed=11)
    expected = {}
    for _ in range(12):
        order = make_order(generator)
        expected[order.order_uid] = await store_order(database, order)

    async def look_up(uid: str) -> str:
        async with server.client.get(f"/order/{uid}") as answer:
            assert (answer.status, await answer.read()) == (200, expected[uid])
            return answer.headers["X-Cache"]

    async def all_found() -> set[str]:
        return {await look_up(uid) for uid in expected}

    await eventually(all_found, {"hit"}.__eq__)
    lost = cluster.nodes[2].service
    lost.freeze()
    try:
        assert "miss" in await all_found()
        assert await all_found() == {"miss"}
    finally:
        lost.thaw()
    await eventually(all_found, {"hit"}.__eq__)
    await lost.kill()
    assert "miss" in await all_found()
    async with server.client.get("/healthz") as answer:
        assert (await answer.json())["checks"]["redis"]["cause"] == "node_not_reachable"
    trouble = await check_redis(clustered)
    assert trouble is not None
    assert str(lost.port) in trouble.problem
    await lost.start()
    await cluster.formed()
    await eventually(all_found, {"hit"}.__eq__)


async def test_the_engine_and_the_server_use_a_cluster_that_is_named_by_one_node(
    orderflow: Programs, empty: RedisCluster
) -> None:
    """What was published is a hit, and `doctor` finds no fault with Redis."""
    engine = await orderflow.start("engine", "--workers", "1", **empty.environment)
    await engine.wait_for("partition_opened", count=4)
    published = await orderflow.run("publish", "50")
    uids = published.lines[1:51]
    cache = OrderCache(cache_servers(parse_settings(empty.environment)), TTL_S)
    try:
        await eventually(lambda: cache.get_many(uids), lambda found: len(found) == len(uids))
    finally:
        await cache.aclose()
    assert all([await node.client.dbsize() for node in empty.nodes])
    assert await engine.stop() == 0
    doctor = await orderflow.run("doctor", **empty.environment)
    [line] = [line for line in doctor.lines if " Redis  " in line]
    assert line.startswith("ok")


async def test_a_start_is_refused_where_a_cluster_cannot_be_meant(
    cluster: RedisCluster, clustered: Settings, settings: Settings
) -> None:
    """Another database than 0, and a list of servers that are no cluster; a node that is down is none of these."""
    away = attrs.evolve(settings.redis_address, host="127.0.0.1", port=free_ports(1)[0])
    assert await check_redis(attrs.evolve(clustered, redis_addresses=(away, *clustered.redis_addresses))) is None
    everything = tuple(node.settings.redis_address for node in cluster.nodes)
    for addresses in (everything[:1], everything):
        with pytest.raises(CannotStart, match="REDIS_DB"):
            await check_redis(attrs.evolve(clustered, redis_addresses=addresses, redis_db=1))
    with pytest.raises(CannotStart, match="REDIS_ADDR"):
        await check_redis(attrs.evolve(settings, redis_addresses=(settings.redis_address, settings.redis_address)))
