"""Lists of orders and searches over HTTP, on real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from time import perf_counter
from typing import Any

import asyncpg
import pytest
from msgspec import json
from redis.asyncio import Redis
from structlog.testing import capture_logs
from yarl import URL

from handlers.model import UtcTime
from handlers.summaries import OrderCursor, Search, build_future_count, build_query
from handlers.times import render_utc
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.many_orders import FIRST_CREATED, store_many
from tests.support.stored_orders import make_order, store_order

DEADLINE_S = 1.0
SEARCH_CONNECTIONS = 2


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(
        settings, store_deadline_s=DEADLINE_S, lookup_deadline_s=1.5, search_connections=SEARCH_CONNECTIONS
    ) as running:
        yield running


async def ask(server: LookupServer, **parameters: Any) -> tuple[int, Any]:
    async with server.client.get("/orders", params=parameters) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status, await answer.json()


async def uids(server: LookupServer, **parameters: Any) -> list[str]:
    status, found = await ask(server, **parameters)
    assert status == 200, found
    return [order["order_uid"] for order in found["orders"]]


async def test_the_newest_orders_come_first(server: LookupServer, database: asyncpg.Connection) -> None:
    """Each line holds what tells orders apart, and nothing of the recipient."""
    generator = OrderGenerator(1)
    created = [datetime(2026, 3, day, 4, 5, 6, day % 2 * 700, tzinfo=UTC) for day in (2, 1, 4, 3)]
    orders = [make_order(generator, date_created=render_utc(moment)) for moment in created]
    for order in orders:
        await store_order(database, order)
    status, found = await ask(server)
    assert status == 200
    newest_first = sorted(orders, key=lambda order: datetime.fromisoformat(order.date_created), reverse=True)
    assert found == {
        "orders": [
            {
                "order_uid": order.order_uid,
                "track_number": order.track_number,
                "customer_id": order.customer_id,
                "date_created": order.date_created,
                "delivery_service": order.delivery_service,
                "items": len(order.items),
                "amount": order.payment.amount,
                "currency": order.payment.currency,
            }
            for order in newest_first
        ],
        "next": None,
        "future": 0,
    }
    for line in found["orders"]:
        async with server.client.get(f"/order/{line['order_uid']}") as answer:
            assert (await answer.json())["date_created"] == line["date_created"]


async def test_without_orders_the_list_is_empty(server: LookupServer) -> None:
    assert await ask(server) == (200, {"orders": [], "next": None, "future": 0})


async def test_orders_dated_over_a_day_ahead_are_listed_by_themselves(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """A wrong year keeps no order on top of the list; every list says how many it leaves out."""
    now, generator = datetime.now(UTC), OrderGenerator(4)
    dated = {
        "last": UtcTime("9999-12-31T23:59:59Z"),
        "tomorrow": render_utc(now + timedelta(hours=25)),
        "soon": render_utc(now + timedelta(hours=23)),
        "then": render_utc(now - timedelta(days=1)),
        "zero": UtcTime("0001-01-01T00:00:01Z"),
    }
    for uid, moment in dated.items():
        customer = "another" if uid == "tomorrow" else "one"
        await store_order(
            database, make_order(generator, order_uid=uid, date_created=moment, customer_id=customer, track_number="T")
        )
    assert await uids(server) == ["soon", "then", "zero"]
    assert await uids(server, dated="future") == ["last", "tomorrow"]
    assert await uids(server, dated="future", customer_id="one") == ["last"]
    assert await uids(server, dated="future", track_number="T", customer_id="another") == ["tomorrow"]
    assert await uids(server, customer_id="another") == []
    for searched, future in (
        ({}, 2),
        ({"customer_id": "one"}, 1),
        ({"track_number": "T"}, 2),
        ({"track_number": "t"}, 0),
    ):
        assert (await ask(server, **searched))[1]["future"] == future
    _, first = await ask(server, dated="future", limit=1)
    assert await uids(server, dated="future", limit=1, before=first["next"]) == ["tomorrow"]
    assert await uids(server, before=first["next"]) == ["soon", "then", "zero"], "a place in another list"
    async with server.client.get("/order/last") as answer:
        assert (await answer.json())["date_created"] == dated["last"], "as it was sent"


async def test_the_last_instant_of_all_has_pages_too(server: LookupServer, database: asyncpg.Connection) -> None:
    """And the first: programs send them for "no date". Every order of theirs is listed once."""
    await store_many(database, "l-", 3, customers=1)
    for instant, dated in (("9999-12-31T23:59:59.999999Z", {"dated": "future"}), ("0001-01-01T00:00:00Z", {})):
        await database.execute(f"UPDATE orders SET date_created = '{instant}'")
        seen, before = [], {}
        for _ in range(3):
            _, found = await ask(server, limit=1, **dated, **before)
            seen += [(order["order_uid"][-1], order["date_created"]) for order in found["orders"]]
            before = {"before": found["next"]}
        assert seen == [(digit, instant) for digit in "210"]
        assert found["next"] is None


async def test_what_is_dated_in_the_future_is_counted_up_to_a_hundred(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """Not all of them: a producer with a wrong clock sends millions."""
    await store_many(database, "f-", 101, since=datetime.now(UTC) + timedelta(days=400), customers=1)
    assert await ask(server) == (200, {"orders": [], "next": None, "future": 100})
    assert len(await uids(server, dated="future", limit=100)) == 100


async def test_a_search_finds_what_is_equal_and_nothing_else(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """No prefixes, no patterns, no other case; two parameters narrow each other."""
    generator = OrderGenerator(2)
    for order_uid, track_number, customer_id in (
        ("a", "TRACK", "c 1"),
        ("b", "TRACK", "c+2"),
        ("c", "track", "c 1"),
        ("d", "TRACK1", "c 11"),
        ("e", "ж%", "' OR ''='"),
    ):
        order = make_order(generator, order_uid=order_uid, track_number=track_number, customer_id=customer_id)
        await store_order(database, order)
    assert sorted(await uids(server, track_number="TRACK")) == ["a", "b"]
    assert sorted(await uids(server, customer_id="c 1")) == ["a", "c"]
    assert await uids(server, customer_id="c+2") == ["b"]
    assert await uids(server, customer_id="c 1", track_number="TRACK") == ["a"]
    assert await uids(server, track_number="ж%") == await uids(server, customer_id="' OR ''='") == ["e"]
    assert await uids(server, track_number="TRAC") == await uids(server, customer_id="%") == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=%00", "limit"),
        ("track_number=", "track_number"),
        ("track_number=a%00b", "track_number"),
        ("customer_id=" + "a" * 513, "customer_id"),
        ("customer_id=%FF", "customer_id"),
        ("customer_id=a&customer_id=b", "customer_id"),
        ("before=nonsense", "before"),
        ("dated=past", "dated"),
        ("custmer_id=a", "custmer_id"),
    ],
)
async def test_a_wrong_parameter_is_named(server: LookupServer, query: str, parameter: str) -> None:
    """With what is allowed, so that nobody has to look it up."""
    async with server.client.get(URL(f"/orders?{query}", encoded=True)) as answer:
        assert answer.status == 400
        assert answer.headers["Cache-Control"] == "no-store"
        refusal = await answer.json()
    assert (refusal["error"], refusal["parameter"]) == ("invalid_parameter", parameter)
    assert refusal["allowed"]


async def test_the_longest_search_fits_into_a_request(server: LookupServer, database: asyncpg.Connection) -> None:
    """All parameters at their bounds, every byte of them encoded, a cursor with a uid of 512 bytes."""
    longest = "ж" * 256
    generator = OrderGenerator(3)
    for number in range(3):
        uid = f"{number}{'ж' * 255}"
        order = make_order(generator, order_uid=uid, track_number=longest, customer_id=longest)
        await store_order(database, order)
    seen, before = [], {}
    for _ in range(3):
        _, found = await ask(server, track_number=longest, customer_id=longest, limit=1, **before)
        seen += [order["order_uid"][0] for order in found["orders"]]
        before = {"before": found["next"]}
    assert (sorted(seen), before) == (["0", "1", "2"], {"before": None})


@pytest.mark.parametrize("seed", range(6))
async def test_every_order_is_on_one_page_while_others_arrive(
    server: LookupServer, database: asyncpg.Connection, seed: int
) -> None:
    """Whatever the size of the pages and however many share an instant: each once, newest first.

    Between any two pages orders arrive that are newer, older, and of the very instant at which a page ended.
    """
    random = Random(seed)
    searched = random.choice([{}, {"customer_id": "customer-0"}])
    await store_many(database, "m-", random.randint(50, 120), customers=2, a_second=random.choice([1, 7, 1000]))
    expected = set(await _stored(database, **searched))
    seen: list[tuple[str, str]] = []
    before: dict[str, str] = {}
    arrivals = 0
    while True:
        status, page = await ask(server, limit=random.randint(1, 30), **searched, **before)
        assert status == 200, page
        seen += [(order["date_created"], order["order_uid"]) for order in page["orders"]]
        if page["next"] is None:
            break
        assert page["orders"], "an empty page that is not the last one"
        before = {"before": page["next"]}
        arrivals += 1
        for prefix, created in (
            ("n", FIRST_CREATED + timedelta(days=1)),
            ("a", FIRST_CREATED - timedelta(days=1)),
            ("m", FIRST_CREATED),
            ("z", datetime.fromisoformat(page["orders"][-1]["date_created"])),
        ):
            await store_many(database, f"{prefix}{arrivals}-", random.randint(0, 4), since=created, customers=1)
    assert seen == sorted(set(seen), reverse=True)
    assert expected <= {order_uid for _, order_uid in seen} <= set(await _stored(database, **searched))
    assert not [order_uid for _, order_uid in seen if order_uid.startswith("n")], "a newer one on a later page"


async def _stored(database: asyncpg.Connection, customer_id: str | None = None) -> list[str]:
    rows = await database.fetch(
        'SELECT order_uid FROM orders WHERE $1::text IS NULL OR customer_id = $1 COLLATE "C"', customer_id
    )
    return [row["order_uid"] for row in rows]


@pytest.mark.parametrize(
    ("keys", "most_rows"),
    [
        ({}, 210),
        ({"customer_id": "customer-7"}, 210),
        ({"customer_id": "nobody"}, 0),
        ({"track_number": "new-track-50000"}, 210),
        ({"track_number": "nothing"}, 0),
        ({"customer_id": "customer-7", "track_number": "new-track-60007"}, 210),
        ({"customer_id": "old"}, 100_000),
        ({"track_number": "old"}, 100_000),
        ({"customer_id": "old", "track_number": "old"}, 100_000),
        ({"future": True}, 210),
        ({"future": True, "customer_id": "customer-7"}, 210),
        ({"future": True, "customer_id": "old"}, 210),
    ],
)
async def test_no_page_is_found_by_reading_the_table(
    many: asyncpg.Connection, keys: dict[str, Any], most_rows: int
) -> None:
    """Among 100,000 orders a page reads about as many rows as it shows, or as have its key.

    One customer, and one track number, has tens of thousands, all old and of one instant: pages that meet these may
    read as many, but follow an index even so.
    """
    middle = OrderCursor(FIRST_CREATED + timedelta(days=1, seconds=400), "new-000040000")
    same_instant = OrderCursor(FIRST_CREATED, "old-000010000")
    heavy = not keys or "old" in keys.values()
    for before in (None, middle, *([same_instant] if heavy else [])):
        search = Search(**keys, before=before, limit=100)
        for query, arguments in (build_query(search), build_future_count(search)):
            await _follows_an_index(many, query, arguments, most_rows, sorts=bool(set(keys) - {"future"}))


async def _follows_an_index(
    many: asyncpg.Connection, query: str, arguments: list[Any], most_rows: int, *, sorts: bool
) -> None:
    [plan] = await many.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
    nodes = list(_nodes(plan[0]))
    assert "Seq Scan" not in {kind for kind, *_ in nodes}, (query, arguments, nodes)
    assert sum(rows for _, table, rows in nodes if table == "orders") <= most_rows, (query, arguments, nodes)
    if not sorts:
        assert not [kind for kind, *_ in nodes if "Sort" in kind], (query, arguments, nodes)


async def test_many_orders_dated_in_the_future_are_counted_in_the_index(database: asyncpg.Connection) -> None:
    """A hundred rows are read, though a fifth of the table matches and lies at its end."""
    await store_many(database, "past-", 20_000, a_second=100)
    await store_many(database, "future-", 5_000, since=datetime.now(UTC) + timedelta(days=400), a_second=100)
    await database.execute("ANALYZE orders, order_items")
    for search in (Search(limit=20), Search(limit=20, future=True)):
        for query, arguments in (build_query(search), build_future_count(search)):
            await _follows_an_index(database, query, arguments, 100, sorts=False)


@pytest.fixture
async def many(database: asyncpg.Connection) -> asyncpg.Connection:
    await store_many(database, "old-", 20_000, customers=1, a_second=20_000)
    await store_many(database, "new-", 80_000, since=FIRST_CREATED + timedelta(days=1), customers=20_000, a_second=100)
    await database.execute(
        "UPDATE orders SET customer_id = 'old', track_number = 'old' WHERE starts_with(order_uid, 'old-')"
    )
    await database.execute("ANALYZE orders, order_items")
    return database


def _nodes(explained: str) -> Any:
    """Yield each node of a plan: its kind, its table, and how many rows it has read."""

    def walk(node: dict[str, Any]) -> Any:
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        yield node["Node Type"], node.get("Relation Name"), rows
        for child in node.get("Plans", []):
            yield from walk(child)

    yield from walk(json.decode(explained)[0]["Plan"])


async def test_without_postgresql_a_search_is_unavailable(server: LookupServer, database: asyncpg.Connection) -> None:
    """Down or silent: 503 within the deadline, never an empty list; afterwards all is as before."""
    await store_many(database, "o-", 3)
    assert len(await uids(server)) == 3
    await server.postgres.shut()
    assert await ask(server) == (503, {"error": "unavailable"})
    await server.postgres.open()
    assert len(await uids(server)) == 3
    server.postgres.hold()
    began = perf_counter()
    answers = await asyncio.gather(*(ask(server, customer_id="customer-1") for _ in range(20)))
    assert {status for status, _ in answers} == {503}
    assert perf_counter() - began < 2.5
    await server.postgres.open()
    async with asyncio.timeout(15):
        while (await ask(server))[0] != 200:
            await asyncio.sleep(0.02)


async def test_searches_that_hang_delay_no_lookup_and_leave_nothing_behind(
    server: LookupServer, database: asyncpg.Connection, redis: Redis
) -> None:
    """A crowd of them keeps two backends at most, each for the deadline at most."""
    body = await store_order(database, make_order(OrderGenerator(4), order_uid="uid"))
    assert await uids(server) == ["uid"]

    async def waiting() -> int:
        await database.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees its first answer again
        count: int = await database.fetchval(
            """
            SELECT count(*)::int FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%payment_currency%'
            """
        )
        return count

    async with server.client.get("/order/uid") as answer:
        assert await answer.read() == body
    await eventually(lambda: redis.exists("order:uid"), bool)
    async with database.transaction():
        await database.execute("LOCK order_items IN ACCESS EXCLUSIVE MODE")
        searches = asyncio.gather(*(ask(server) for _ in range(30)))
        await eventually(waiting, lambda count: count == SEARCH_CONNECTIONS)
        for _ in range(20):
            began = perf_counter()
            async with server.client.get("/order/uid") as answer:
                assert (answer.status, answer.headers["X-Cache"]) == (200, "hit")
            assert perf_counter() - began < 0.3
            assert await waiting() <= SEARCH_CONNECTIONS
        assert {status for status, _ in await searches} == {503}
        await eventually(waiting, lambda count: count == 0)
    assert await uids(server) == ["uid"]


async def test_what_was_searched_for_is_not_logged(server: LookupServer) -> None:
    """People type names and addresses into every field."""
    with capture_logs() as lines:
        await ask(server, customer_id="somebody@example.com")
        await ask(server, somebody="somebody")
    lines = [line for line in lines if line["event"] == "http_request"]
    assert [(line["route"], line["status"]) for line in lines] == [("/orders", 200), ("/orders", 400)]
    assert "somebody" not in str(lines)
