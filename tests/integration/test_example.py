"""The example of docs/guide.md on real services: another topic and another table, stored exactly once by the engine."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import json

from examples.page_views.handler import PageView
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.programs import Programs, Running
from tests.support.topic import receive, send

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "page_views"
LETTERS = "SELECT reason, errors::text AS errors, subject, payload FROM dead_letters ORDER BY partition, kafka_offset"


def view(**changes: Any) -> dict[str, Any]:
    """Make a message that is a valid page view, some of its fields changed."""
    seen = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    return {
        "view_id": str(uuid4()),
        "page": "/cart",
        "visitor": "visitor-1",
        "viewed_at": seen.isoformat(),
        "duration_ms": 1500,
    } | changes


def messages(*views: dict[str, Any]) -> list[tuple[bytes | None, bytes | None]]:
    return [(None, json.encode(one)) for one in views]


async def stored(database: asyncpg.Connection) -> list[UUID]:
    return [row["view_id"] for row in await database.fetch("SELECT view_id FROM page_views")]


async def start(orderflow: Programs, settings: Settings, **extra: str) -> Running:
    """Start the pipeline on the test's own topic."""
    return await orderflow.start(
        module="examples.page_views", PAGE_VIEWS_TOPIC=settings.kafka_topic, PYTHONPATH=str(ROOT), **extra
    )


@pytest.fixture
async def table(database: asyncpg.Connection) -> None:
    """Create the table page_views, as the example does."""
    await database.execute((EXAMPLE / "schema.sql").read_text(encoding="utf-8"))


@pytest.fixture
async def pipeline(table: None, orderflow: Programs, settings: Settings) -> Running:
    """Start the example, whose two workers have opened all partitions."""
    running = await start(orderflow, settings)
    await running.wait_for("partition_opened", count=4)
    return running


async def test_a_valid_view_is_stored_and_an_invalid_one_is_a_dead_letter_with_its_reasons(
    pipeline: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """A row as published, a letter in table and topic alike, and a clean end."""
    good = view()
    bad = view(page="", duration_ms=-1, viewed_at="yesterday")
    del bad["visitor"]
    await send(settings, *messages(good, bad), (None, b"no JSON"), (b"key", None), partition=1)
    await consumed(database, 4)

    [row] = await database.fetch("SELECT * FROM page_views")
    assert json.encode(dict(row)) == json.encode(json.decode(json.encode(good), type=PageView))
    letters = await database.fetch(LETTERS)
    assert [letter["reason"] for letter in letters] == ["invalid_page_view", "invalid_json", "invalid_json"]
    assert {error["path"]: error["message"] for error in json.decode(letters[0]["errors"])} == {
        "page": "Expected `str` of length >= 1",
        "visitor": "is required",
        "viewed_at": "Invalid RFC3339 encoded datetime",
        "duration_ms": "Expected `int` >= 0",
    }
    [published, *_] = await receive(settings, settings.kafka_dlq_topic, 3)
    assert published.value == json.encode(bad)
    assert dict(published.headers)["x-failure-fields"] == b"page,visitor,viewed_at,duration_ms"
    logged = await pipeline.wait_for("dead_letter_published", count=3)
    assert "view_id" in logged
    assert "order_uid" not in logged
    assert await pipeline.stop() == 0
    assert await database.fetchval("SELECT count(*) FROM workers") == 0


async def test_what_only_postgresql_or_its_driver_refuses_leaves_its_neighbours_alone(
    pipeline: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """NUL in a text, and an instant before the year 1: each is found, and no worker dies of it."""
    refused = [view(page="/\x00"), view(viewed_at="0001-01-01T00:00:00+23:00")]
    fine = [view() for _ in range(20)]
    await send(settings, *messages(*fine[:10], *refused, *fine[10:]), partition=2)
    await consumed(database, 22)

    assert sorted(await stored(database)) == sorted(UUID(one["view_id"]) for one in fine)
    letters = await database.fetch(LETTERS)
    assert [(letter["reason"], letter["subject"]) for letter in letters] == [
        ("refused_by_database", one["view_id"]) for one in refused
    ]
    assert not pipeline.seen("worker_died")


async def test_views_are_stored_once_however_workers_are_killed(
    table: None, orderflow: Programs, settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """SIGKILL once before a commit and once right after one: nothing is lost, nothing is there twice."""
    views = [view() for _ in range(4000)]
    for partition in range(4):
        await send(settings, *messages(*views[partition::4]), partition=partition)
    pipeline = await start(
        orderflow,
        settings,
        ORDERFLOW_FAILPOINTS="after-copy=kill@2,after-commit=kill@1",
        ORDERFLOW_FAILPOINTS_FIRED=str(tmp_path),
    )
    await consumed(database, len(views))

    assert [line["exit_code"] for line in pipeline.seen("worker_died")] == [-9, -9]
    assert sorted(await stored(database)) == sorted(UUID(one["view_id"]) for one in views)
    assert await database.fetchval("SELECT sum(inserted) FROM batches") == len(views)
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await pipeline.stop() == 0


@pytest.mark.parametrize(
    "refused", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_BSP_MAX_QUEUE_SIZE": "0"}], ids=["by us", "by the SDK"]
)
async def test_spans_that_cannot_be_had_end_the_start(
    orderflow: Programs, settings: Settings, refused: dict[str, str]
) -> None:
    """Exit code 3 and one line that says why; no worker is started again and again."""
    pipeline = await start(orderflow, settings, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **refused)
    line = await pipeline.wait_for_line("examples.page_views: ")
    assert "OTEL_" in line
    assert await pipeline.ended() == 3
    assert pipeline.seen("worker_restarting") == []


async def test_a_view_that_is_sent_several_times_is_stored_once(
    pipeline: Running, settings: Settings, database: asyncpg.Connection
) -> None:
    """Also when two workers meet on it: the repeat is no dead letter."""
    views = [view() for _ in range(300)]
    for partition in range(4):
        await send(settings, *messages(*views, views[0]), partition=partition)
    await consumed(database, 4 * 301)

    assert sorted(await stored(database)) == sorted(UUID(one["view_id"]) for one in views)
    told = await database.fetchrow("SELECT sum(inserted) AS inserted, sum(unchanged) AS unchanged FROM batches")
    assert told is not None
    assert (told["inserted"], told["unchanged"]) == (300, 4 * 301 - 300)
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_missing_table_is_waited_for(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """And said; no message becomes a dead letter for it."""
    pipeline = await start(orderflow, settings)
    await pipeline.wait_for("partition_opened", count=4)
    await send(settings, *messages(view()))
    await pipeline.wait_for("outage_started", of="postgres", error="UndefinedTableError (42P01)")
    await database.execute((EXAMPLE / "schema.sql").read_text(encoding="utf-8"))
    assert await eventually(lambda: stored(database), lambda found: len(found) == 1)
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_arguments_that_nobody_knows_are_refused(orderflow: Programs, settings: Settings) -> None:
    """Exit code 2, at once."""
    running = await orderflow.start("nonsense", module="examples.page_views", PYTHONPATH=str(ROOT))
    assert await running.ended() == 2


def test_the_handler_is_short() -> None:
    """The guide promises fewer than 60 lines."""
    lines = (EXAMPLE / "handler.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) < 60


def test_the_example_is_what_the_guide_shows() -> None:
    """Every file that the guide links to is there."""
    guide = ROOT / "docs" / "guide.md"
    links = re.findall(r"\]\(([^)#]+)\)", guide.read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (guide.parent / link).exists()] == []
