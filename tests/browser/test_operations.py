"""The page of live operations in a real browser, over the real system."""

import os
import re
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from msgspec import json
from playwright.async_api import Browser, Locator, Page, expect

from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs, Running

MARKUP = '<img src=x onerror="window.injected=true">'
WORKER = """
INSERT INTO workers VALUES ($1, 'worker-3', $2, 7, $3, '{2}', 0, now(), now() + interval '1 hour', $4::text::jsonb)
"""


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings, operations_max_listeners=1) as running:
        yield running


def address(server: LookupServer) -> str:
    return f"http://127.0.0.1:{server.port}/operations"


def live(page: Page) -> Locator:
    return page.locator("#live")


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("table", name="Workers").get_by_role("row").filter(has_text=name)


async def hide(page: Page, hidden: bool) -> None:
    """Do what a browser does when another tab is chosen, or this one again."""
    await page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


async def running_server(orderflow: Programs) -> tuple[Running, str]:
    server = await orderflow.start("serve")
    return server, f"{(await server.wait_for('http_listening'))['url']}/operations"


async def test_a_killed_worker_is_dead_within_two_seconds_and_recovers(
    orderflow: Programs, page: Page, database: asyncpg.Connection
) -> None:
    """By itself: the page is never loaded again. What was published meanwhile arrives in the plot and the counters."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("partition_opened", count=4)
    _, url = await running_server(orderflow)
    await page.goto(url)
    for name in ("worker-0", "worker-1"):
        await expect(row(page, name)).to_contain_text("idle")
    await page.evaluate("window.loadedOnce = true")

    os.kill(await database.fetchval("SELECT pid FROM workers WHERE worker = 'worker-0'"), signal.SIGKILL)
    await expect(row(page, "worker-0")).to_contain_text("dead", timeout=2000)
    await expect(page.get_by_role("list", name="Needs attention")).to_contain_text("worker-0")
    await expect(page.get_by_role("status")).to_contain_text("is dead")
    await expect(row(page, "worker-1")).not_to_contain_text("dead")
    await expect(row(page, "worker-0")).to_contain_text("idle", timeout=30_000)
    await expect(row(page, "worker-0").get_by_role("cell").last).to_contain_text("1")
    await expect(page.get_by_role("list", name="Needs attention")).to_have_count(0)

    assert (await orderflow.run("publish", "20", "--invalid", "0.1")).returncode == 0
    plot = page.get_by_role("img", name="Messages per second")
    await expect(plot).to_have_accessible_name(re.compile("last five minutes. Now: (?!0 committed)"))
    await expect(page.get_by_role("table", name="Lag by partition").get_by_role("row")).to_have_count(5)
    assert await page.evaluate("window.loadedOnce") is True


async def test_the_page_finds_the_server_again(orderflow: Programs, page: Page) -> None:
    """While it is away what is shown stays, with its time; no service is said to be well. Both are announced."""
    server, url = await running_server(orderflow)
    await page.goto(url)
    await expect(live(page)).to_contain_text("Live as of")
    services = page.get_by_role("list", name="Services").get_by_role("listitem")
    known = [
        re.compile("^PostgreSQLHealthy"),
        re.compile("^RedisHealthy"),
        re.compile("^KafkaHealthy"),
        re.compile("^EngineUnhealthy"),
    ]
    await expect(services).to_have_text([*known, re.compile("^Dead lettersHealthy")])
    assert await server.stop() == 0
    await expect(live(page)).to_contain_text("Reconnecting… as of")
    await expect(page.get_by_role("status")).to_have_text("Reconnecting…")
    past = [f"{name}Unknownwas healthy" for name in ("PostgreSQL", "Redis", "Kafka")]
    await expect(services).to_have_text([*past, "EngineUnknownwas unhealthy", "Dead lettersUnknownwas healthy"])
    await expect(page.locator(".service")).not_to_have_class([re.compile("unwell")] * 5)
    await running_server(orderflow)
    await expect(live(page)).to_contain_text("Live as of")
    await expect(services).to_have_text([*known, re.compile("^Dead lettersHealthy")])
    await expect(page.get_by_role("status")).to_have_text("Live")


async def test_without_workers_the_page_says_how_to_start_some(page: Page, server: LookupServer) -> None:
    await page.goto(address(server))
    await expect(page.get_by_role("heading", name="No worker reports")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("orderflow engine")
    engine = page.get_by_role("list", name="Services").get_by_role("listitem").filter(has_text="Engine")
    await expect(engine).to_contain_text("Unhealthy")


async def test_outages_pauses_and_refused_partitions_are_seen(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """With the command that mends them. What a worker says of itself is text, and nothing else."""
    details = '{"outages_now": {"postgres": 6}, "refused": {"2": "it was created anew"}}'
    await database.execute(WORKER, "a", "host-a", "outage", details)
    await database.execute(WORKER, "b", MARKUP, "braked", "{}")
    await page.goto(address(server))
    alarms = page.get_by_role("list", name="Needs attention")
    broken = {"offset": 57, "reason": "corrupt_batch", "detail": "CRC", "fix": "orderflow offsets skip --partition 3"}
    await database.execute(WORKER, "c", "host-c", "idle", json.encode({"refused": {"3": broken}}).decode())
    for told in (
        "PostgreSQL does not answer · 6 failed attempts",
        "Partition 2 is refused · the topic is not the one that was consumed before: it was created anew",
        "orderflow offsets reset",
        "Partition 3 is refused · a batch in it is broken (offset 57): CRC",
        "orderflow offsets skip --partition 3",
        "orderflow brake release",
        MARKUP,
    ):
        await expect(alarms).to_contain_text(told)
    await expect(page.get_by_role("status")).to_contain_text("Partition 2 is refused")
    assert await page.locator("main img").count() == 0
    assert await page.evaluate("window.injected") is None


async def test_strangers_and_open_transactions_are_seen(page: Page, server: LookupServer, settings: Settings) -> None:
    """A plain reader in the engine's group, whose partitions are not ours; and what a transaction holds back."""
    options = kafka_options(settings)
    reader = AIOKafkaConsumer(settings.kafka_topic, group_id=settings.kafka_group_id, **options)
    producer = AIOKafkaProducer(transactional_id=settings.kafka_group_id, **options)
    await reader.start()
    try:
        await producer.start()
        await producer.begin_transaction()
        ago_ms = round(time.time() * 1000) - 120_000
        await producer.send_and_wait(settings.kafka_topic, b"open", partition=1, timestamp_ms=ago_ms)
        await page.goto(address(server))
        alarms = page.get_by_role("list", name="Needs attention")
        await expect(alarms).to_contain_text(
            "A foreign member of the consumer group owns partitions 0, 1, 2, 3", timeout=20_000
        )
        await expect(alarms).to_contain_text("An open transaction holds back partitions 1")
        lags = page.get_by_role("table", name="Lag by partition").get_by_role("row")
        await expect(lags.nth(2)).to_contain_text("1 held back")
        await expect(lags.nth(2)).to_contain_text("foreign member")
        await producer.abort_transaction()
        await expect(alarms).not_to_contain_text("transaction")
    finally:
        await producer.stop()
        await reader.stop()


async def test_without_postgresql_the_page_says_what_is_missing(page: Page, server: LookupServer) -> None:
    await page.goto(address(server))
    await expect(page.get_by_role("table", name="Lag by partition")).to_be_visible()
    await server.postgres.shut()
    await expect(page.get_by_role("heading", name="PostgreSQL does not answer")).to_be_visible()
    services = page.get_by_role("list", name="Services")
    await expect(services).to_contain_text("not reachable")
    for name in ("Engine", "Dead letters"):
        part = services.get_by_role("listitem").filter(has_text=name)
        await expect(part).to_contain_text("Unknown")
        await expect(part).to_contain_text("it is read from PostgreSQL, which does not answer")
    await expect(live(page)).to_contain_text("Live")
    await server.postgres.open()
    await expect(page.get_by_role("table", name="Lag by partition")).to_be_visible()


async def test_a_page_that_nobody_sees_lets_others_watch(page: Page, server: LookupServer) -> None:
    """And one that finds no room comes in as soon as there is some."""
    await page.goto(address(server))
    await expect(live(page)).to_contain_text("Live")
    other = await page.context.new_page()
    await other.goto(address(server))
    await expect(live(other)).to_contain_text("Reconnecting…")
    await hide(page, hidden=True)
    await expect(live(other)).to_contain_text("Live")
    await hide(other, hidden=True)
    await hide(page, hidden=False)
    await expect(live(page)).to_contain_text("Live")


async def test_the_plot_tells_the_values_under_the_pointer(page: Page, server: LookupServer) -> None:
    await page.goto(address(server))
    await expect(live(page)).to_contain_text("Live")
    await page.get_by_role("img", name="Messages per second").hover()
    moment = page.locator(".plot-moment").first
    await expect(moment).to_contain_text(":")
    await page.mouse.move(0, 0)
    await expect(moment).to_be_empty()


async def test_a_single_value_is_seen_in_the_plot(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """A batch with none before or after it is a dot in the latencies, and so are two; more of them are a line."""
    batch = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     cached_at, messages, inserted, changed, unchanged, rejected)
SELECT gen_random_uuid(), $1, $2, 'worker-0', 'host', '[]', at - interval '20 ms', at, at, at + interval '5 ms',
       1, 1, 0, 0, 0
FROM (SELECT now() - $3::integer * interval '1 second' AS at) AS moment
"""
    for ago_s in (60, 90, 92, 120, 122, 124):
        await database.execute(batch, settings.kafka_group_id, settings.kafka_topic, ago_s)
    await page.goto(address(server))
    plot = page.get_by_role("img", name="Average latency")
    for kind in ("first", "second"):
        dots = plot.locator(f".plot-dots.{kind}")
        await expect(dots).to_have_attribute("d", re.compile(r"^(M[\d. ]+h0){3}$"))
        assert await dots.evaluate("dots => parseFloat(getComputedStyle(dots).strokeWidth)") >= 5
        await expect(plot.locator(f".plot-line.{kind}:not(.plot-dots)")).to_have_attribute("d", re.compile(r"L.*L"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone_in_russian(
    browser: Browser, server: LookupServer, database: asyncpg.Connection, scheme: str
) -> None:
    """Nothing sticks out of 390 pixels, however long a name is; the words are the reader's."""
    details = '{"refused": {"2": "' + "x" * 300 + '"}, "messages": 123456789012}'
    await database.execute(WORKER, "a", "h" * 200, "running", details)
    context = await browser.new_context(
        viewport={"width": 390, "height": 844},
        locale="ru-RU",
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = await context.new_page()
    await page.goto(address(server))
    for heading in ("Работа системы", "Поток", "Воркеры", "Лаг по партициям"):
        await expect(page.get_by_role("heading", name=heading).first).to_be_visible()
    await expect(live(page)).to_contain_text("На связи")
    await expect(page.get_by_role("table", name="Воркеры")).to_contain_text("работает")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()
