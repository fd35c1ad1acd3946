"""A Redis that answers but refuses writes, or is away at the start: it is named, and used once it is mended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import attrs
import pytest
from aiohttp import ClientSession
from redis.exceptions import ReadOnlyError

from handlers.body import body_end, finish_body, version_of
from handlers.cache import OrderCache
from orderflow.doctor.redis_checks import examine_redis
from orderflow.exits import CannotStart
from orderflow.publishing.orders import OrderGenerator
from orderflow.services import free_ports
from orderflow.start.address import Address
from orderflow.start.connections import cache_servers
from orderflow.start.redis import check_redis
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.redis_servers import HOST, RedisServer, own_redis
from tests.support.stored_orders import STORED_AT, make_order, store_order
from tests.support.tcp_proxy import tcp_proxy

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
BODY = finish_body(b'{"order_uid":"old"}', body_end(MOMENT, MOMENT))
Change = Callable[[RedisServer], Awaitable[object]]


@pytest.fixture(scope="module")
async def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    async with own_redis(tmp_path_factory.mktemp("redis"), "save 3600 1000000") as server:
        yield server


@pytest.fixture
def ours(settings: Settings, shared_redis: RedisServer) -> Settings:
    """Provide the test's settings with a Redis that it may disturb."""
    return attrs.evolve(settings, redis_addresses=shared_redis.settings.redis_addresses, redis_db=0)


@pytest.fixture
async def server(ours: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(ours, cache_check_s=0.1) as running:
        yield running


async def health(server: LookupServer) -> tuple[str, str | None]:
    """Return the status of Redis and the cause."""
    async with server.client.get("/healthz") as answer:
        found = (await answer.json())["checks"]["redis"]
    return found["status"], found.get("cause")


async def the_finding(settings: Settings) -> tuple[str, str]:
    """Return what `doctor` says of Redis."""
    [found, *_] = [finding async for finding in examine_redis(settings)]
    return found.outcome, found.message


async def identities(settings: Settings) -> list[str] | None:
    cache = OrderCache(cache_servers(settings), settings.redis_ttl_s)
    try:
        return await cache.identities()
    finally:
        await cache.aclose()


async def lose_a_snapshot(redis: RedisServer) -> None:
    (redis.service.directory / "dump.rdb").mkdir()
    await redis.ask("BGSAVE")
    await eventually(lambda: redis.client.info("persistence"), lambda found: found["rdb_last_bgsave_status"] == "err")


async def save_again(redis: RedisServer) -> None:
    (redis.service.directory / "dump.rdb").rmdir()
    await redis.ask("BGSAVE")
    await eventually(lambda: redis.client.info("persistence"), lambda found: found["rdb_last_bgsave_status"] == "ok")


async def limit_memory(redis: RedisServer) -> None:
    await redis.client.config_set("maxmemory", "1")


REFUSALS: dict[str, tuple[Change, Change, str]] = {
    "read_only": (
        lambda redis: redis.ask("REPLICAOF", HOST, 1),
        lambda redis: redis.ask("REPLICAOF", "NO", "ONE"),
        "REPLICAOF NO ONE",
    ),
    "too_few_replicas": (
        lambda redis: redis.client.config_set("min-replicas-to-write", 1),
        lambda redis: redis.client.config_set("min-replicas-to-write", 0),
        "min-replicas-to-write",
    ),
    "snapshot_failed": (lose_a_snapshot, save_again, "stop-writes-on-bgsave-error"),
    "memory_full": (limit_memory, lambda redis: redis.client.config_set("maxmemory", "0"), "maxmemory"),
    "no_permission": (
        lambda redis: redis.ask("ACL", "SETUSER", "default", "-set"),
        lambda redis: redis.ask("ACL", "SETUSER", "default", "+@all"),
        "ACL SETUSER",
    ),
}


@pytest.mark.parametrize("cause", REFUSALS)
async def test_what_redis_refuses_is_named_until_it_is_mended(
    server: LookupServer, ours: Settings, shared_redis: RedisServer, cause: str
) -> None:
    """In `/healthz`, and in `doctor` with the fix."""
    refuse, mend, fix = REFUSALS[cause]
    assert await the_finding(ours) == ("ok", f"answers at {ours.redis_address}")
    await eventually(lambda: health(server), ("ok", None).__eq__)
    await refuse(shared_redis)
    try:
        await eventually(lambda: health(server), ("unavailable", cause).__eq__)
        outcome, message = await the_finding(ours)
        assert outcome == "failed"
        assert fix in message
    finally:
        await mend(shared_redis)
    await eventually(lambda: health(server), ("ok", None).__eq__)
    assert await the_finding(ours) == ("ok", f"answers at {ours.redis_address}")


async def test_a_server_that_was_demoted_answers_no_lookup(
    server: LookupServer, ours: Settings, shared_redis: RedisServer, database: asyncpg.Connection
) -> None:
    """It answers reads, but nobody can correct its answers any more: PostgreSQL is asked instead.

    When it is promoted again, it has another identity, so that the engine searches it for old answers.
    """
    order = make_order(OrderGenerator(seed=21))
    await store_order(database, order)

    async def look_up() -> tuple[str, bytes]:
        async with server.client.get(f"/order/{order.order_uid}") as answer:
            assert answer.status == 200
            return answer.headers["X-Cache"], await answer.read()

    await eventually(look_up, lambda found: found[0] == "hit")
    before = await identities(ours)
    await shared_redis.ask("REPLICAOF", HOST, 1)
    try:
        await database.execute("UPDATE orders SET updated_at = $1", STORED_AT + timedelta(seconds=1))
        _, body = await eventually(look_up, lambda found: found[0] == "miss")
        assert b'"updated_at":"2026-02-03T04:05:07.789012Z"' in body
    finally:
        await shared_redis.ask("REPLICAOF", "NO", "ONE")
    await eventually(look_up, lambda found: found[0] == "hit")
    assert await identities(ours) != before


@pytest.fixture(scope="module")
async def heir(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """Provide the server that takes over."""
    async with own_redis(tmp_path_factory.mktemp("heir")) as server:
        yield server


@pytest.fixture
async def failing_over(ours: Settings, shared_redis: RedisServer, heir: RedisServer) -> AsyncIterator[OrderCache]:
    """Provide a cache with two connections, whose address leads new connections to the heir."""
    async with tcp_proxy(HOST, shared_redis.service.port) as address:
        behind = attrs.evolve(ours, redis_addresses=(Address(HOST, address.port),))
        cache = OrderCache(cache_servers(behind), 60)
        try:
            await asyncio.gather(*(cache.put_many([("before", BODY)]) for _ in range(2)))
            address.lead_to(HOST, heir.service.port)
            yield cache
        finally:
            await cache.aclose()


async def test_an_address_that_leads_to_the_new_primary_is_followed(
    failing_over: OrderCache, shared_redis: RedisServer, heir: RedisServer
) -> None:
    """The old primary goes on as a replica and closes no connection: what it refuses makes the cache connect again."""
    cache = failing_over
    await shared_redis.ask("REPLICAOF", HOST, 1)
    try:
        with pytest.raises(ReadOnlyError):
            await cache.put_many([("refused", BODY)])
        await asyncio.gather(*(cache.put_many([(uid, BODY)]) for uid in ("a", "b", "c")))
    finally:
        await shared_redis.ask("REPLICAOF", "NO", "ONE")
    assert await heir.client.exists("order:a", "order:b", "order:c") == 3


async def test_the_server_that_is_searched_for_old_answers_is_the_one_that_was_found_to_be_new(
    failing_over: OrderCache, shared_redis: RedisServer, heir: RedisServer
) -> None:
    """One of two connections breaks, and is made again to the heir: the other one is not used any more."""
    cache = failing_over
    before = await cache.identities()
    for server in (shared_redis, heir):
        await server.client.set("order:old", BODY)
    [asked] = [client for client in await shared_redis.client.client_list() if client["cmd"] == "info"]
    await shared_redis.client.client_kill_filter(_id=asked["id"])
    [found] = await cache.identities() or []
    assert [found] != before
    await asyncio.gather(
        *(cache.drop_older([("old", version_of(MOMENT + timedelta(seconds=1)))], {found}) for _ in range(3))
    )
    assert [await server.client.exists("order:old") for server in (shared_redis, heir)] == [1, 0]


async def test_a_missing_command_ends_the_start_and_is_named(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A restart does not bring it back."""
    async with own_redis(tmp_path_factory.mktemp("renamed"), 'rename-command EVALSHA ""') as renamed:
        changed = attrs.evolve(settings, redis_addresses=renamed.settings.redis_addresses, redis_db=0)
        with pytest.raises(CannotStart, match="rename-command"):
            await check_redis(changed)
        outcome, message = await the_finding(changed)
        assert (outcome, "EVALSHA" in message) == ("failed", True)


async def test_a_sentinel_is_named(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It answers, but it has no data: REDIS_ADDR is to name the primary."""
    async with own_redis(tmp_path_factory.mktemp("sentinel"), arguments=("--sentinel",)) as sentinel:
        changed = attrs.evolve(settings, redis_addresses=sentinel.settings.redis_addresses, redis_db=0)
        with pytest.raises(CannotStart, match=r"it is a Sentinel.* name the primary"):
            await check_redis(changed)


async def test_without_redis_engine_and_server_start_and_use_it_once_it_is_there(
    orderflow: Programs, database: asyncpg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Orders are stored and found; later the cache is filled."""
    port = free_ports(1)[0]
    extra = {"REDIS_ADDR": f"{HOST}:{port}", "REDIS_DB": "0"}
    engine = await orderflow.start("engine", "--workers", "1", **extra)
    assert (await engine.wait_for("started_without_redis"))["cause"] == "not_reachable"
    await engine.wait_for("partition_opened", count=4)
    published = await orderflow.run("publish", "20")
    uids = published.lines[1:21]
    await eventually(lambda: database.fetchval("SELECT count(*) FROM orders"), (20).__eq__)
    server = await orderflow.start("serve", **extra)
    address = f"http://{orderflow.environment['HTTP_ADDR']}"
    await server.wait_for("http_listening")

    async def look_up() -> str:
        async with client.get(f"{address}/order/{uids[0]}") as answer:
            assert answer.status == 200
            return answer.headers["X-Cache"]

    directory = tmp_path_factory.mktemp("late")
    async with ClientSession() as client, own_redis(directory, port=port, running=False) as late:
        assert await look_up() == "miss"
        await late.service.start()
        await eventually(lambda: late.client.exists(*(f"order:{uid}" for uid in uids)), (20).__eq__)
        await eventually(look_up, "hit".__eq__)
    assert await engine.stop() == 0
