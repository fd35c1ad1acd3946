"""A worker of somebody's own pipeline that is frozen in the middle of a transaction: the same fence as for orders."""

from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil
import pytest
from msgspec import json

from engine.postgres.session import LONGEST_NAME
from orderflow.start.settings import Settings
from tests.chaos.engines import armed, freeze, thaw
from tests.support.eventually import consumed, eventually
from tests.support.programs import Programs, Running
from tests.support.topic import send

ROOT = Path(__file__).parents[2]
VIEWS = 400
_SESSIONS = "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()"


async def publish(settings: Settings) -> list[UUID]:
    """Send views to all partitions; return their ids."""
    ids = [uuid4() for _ in range(VIEWS)]
    for partition in range(4):
        views = [
            {"view_id": one, "page": "/", "visitor": "v", "viewed_at": "2026-05-06T07:08:09Z", "duration_ms": 1}
            for one in ids[partition::4]
        ]
        await send(settings, *((None, json.encode(one)) for one in views), partition=partition)
    return sorted(ids)


async def frozen_worker(pipeline: Running) -> psutil.Process:
    """Return the pipeline's worker that has been stopped by a signal, waiting for it."""

    async def look() -> list[psutil.Process]:
        return [process for process in pipeline.children if process.status() == psutil.STATUS_STOPPED]

    [found] = await eventually(look, lambda stopped: len(stopped) == 1, timeout_s=60)
    return found


@pytest.mark.fault("3", "a worker of a pipeline of one's own, frozen while it holds an offset's lock")
async def test_a_zombie_of_a_pipeline_is_cut_off_by_its_neighbour(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """The pipeline's options say nothing of a session's name: the engine gives it, and so the right one is ended."""
    await database.execute((ROOT / "examples" / "page_views" / "schema.sql").read_text(encoding="utf-8"))
    ids = await publish(settings)
    pipeline = await orderflow.start(
        module="examples.page_views",
        PAGE_VIEWS_TOPIC=settings.kafka_topic,
        PYTHONPATH=str(ROOT),
        **armed("after-copy=freeze@1", tmp_path),
    )
    zombie, supervisor = await frozen_worker(pipeline), psutil.Process(pipeline.pid)
    freeze(supervisor)  # or it would kill its worker, and so end the session
    worker = zombie.cmdline()[-1]
    sessions = dict(map(tuple, await database.fetch(_SESSIONS)))

    cut_off = await pipeline.wait_for("blocker_terminated", timeout_s=60)
    assert cut_off["done"]
    name = f"orderflow {worker} of {settings.kafka_topic}-writer"[:LONGEST_NAME]
    assert sessions[cut_off["backend_pid"]] == name
    await consumed(database, VIEWS)
    thaw(supervisor, zombie)
    await pipeline.wait_for("outage_started", of="postgres", worker=worker, timeout_s=60)
    assert [row["view_id"] for row in await database.fetch("SELECT view_id FROM page_views ORDER BY 1")] == ids
    assert await database.fetchval("SELECT sum(inserted) FROM batches") == VIEWS
    assert await pipeline.stop(timeout_s=40) == 0
