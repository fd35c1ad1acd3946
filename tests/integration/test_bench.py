"""`make bench`, from its command line to its results, with tiny numbers."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.testbed import redis_url
from orderflow.project import project_root
from orderflow.settings import parse_settings
from tests.support.endpoints import Endpoints
from tests.support.isolation import connect, unique
from tests.support.programs import Programs, marked

_TINY = ("--rounds", "1", "--orders", "1000", "--lookup-orders", "200", "--lookup-s", "1", "--latency-s", "1")
_LONG_PARTS_TINY = ("--stored", "1000", "--memory-orders", "1000")
_TIMEOUT_S = 300  # a busy machine may take ten times as long as an idle one
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def bench(endpoints: Endpoints, tmp_path: Path) -> AsyncIterator[Programs]:
    """Provide a runner of programs with nothing in their environment but where this run's services are."""
    settings = parse_settings(endpoints.environment)
    environment = {
        "TEST_POSTGRES_URL": settings.postgres_url(),
        "TEST_REDIS_URL": redis_url(settings),
        "TEST_KAFKA_BROKERS": ",".join(settings.kafka_bootstrap),
        "PYTHONPATH": str(project_root()),
    }
    programs = Programs(environment, tmp_path, mark=unique("bench_test"))
    yield programs
    await programs.close()


async def test_a_tiny_run_measures_everything_it_is_asked_for(bench: Programs, tmp_path: Path) -> None:
    """The engine, the yardstick, latency and lookups run side by side; the table and the JSON have all of it."""
    results = tmp_path / "results.json"
    parts = ("--only", "ingest,yardstick,latency,lookups")
    run = await bench.start("--quick", *parts, *_TINY, "--results", str(results), module="bench")
    assert await run.ended(timeout_s=_TIMEOUT_S) == 0, run.tail()
    found = json.loads(results.read_text())
    assert found["failures"] == []
    assert {"cores", "memory_gib", "kernel"} <= found["machine"].keys()
    assert {"python", "postgresql", "redis", "kafka", "libraries"} <= found["versions"].keys()
    measured = {"copy_limit", "ingest", "yardstick", "latency_p50", "bare_loop_p50", "latency_3000_p99"}
    measured |= {f"lookups_{server}_{kind}_1" for server in ("orderflow", "plain") for kind in ("cached", "cold")}
    assert measured <= found["figures"].keys()
    assert all(found["figures"][key]["median"] > 0 for key in measured)
    judged = {(goal["figure"], goal["over"]): goal for goal in found["goals"]}
    assert judged["ingest", "copy_limit"]["target"] == "≥ 1.1 ×"
    assert any("Raw COPY limit" in line and "≥ 1.1 ×" in line for line in run.stdout_lines)


async def test_a_part_that_fails_ends_with_1_and_the_others_go_on(bench: Programs, tmp_path: Path) -> None:
    """A peer that stores nothing has lost every order: its run does not count, and the engine's does."""
    results = tmp_path / "results.json"
    arguments = ("--only", "peer,stored,memory", "--peer", "true {redis_url}", "--results", str(results))
    run = await bench.start("--quick", *arguments, *_TINY, *_LONG_PARTS_TINY, module="bench")
    assert await run.ended(timeout_s=_TIMEOUT_S) == 1, run.tail()
    found = json.loads(results.read_text())
    assert found["failures"] == [
        "peer: OrdersLost: orders: 0 of 1,000; deliveries: 0 of 1,000; payments: 0 of 1,000; "
        f"order_items: 0 of {_items(found):,}"
    ]
    assert {"ingest", "ingest_stored", "ready_stored", "memory_peak"} <= found["figures"].keys()
    assert "peer" not in found["figures"]


async def test_ctrl_c_leaves_nothing_behind(bench: Programs, endpoints: Endpoints, tmp_path: Path) -> None:
    """Interrupted while the engine works, it stops what it started, drops what it made, and has not succeeded."""
    before = await _databases(endpoints)
    results = tmp_path / "results.json"
    arguments = ("--quick", "--only", "ingest", "--rounds", "50", "--orders", "1000", "--results", str(results))
    run = await bench.start(*arguments, module="bench")
    await run.wait_for_line("round 1/50  ingest", timeout_s=_TIMEOUT_S)
    run.send_signal(signal.SIGINT)
    assert await run.ended(timeout_s=60) == 130, run.tail()
    assert marked(bench.mark) == []
    assert await _databases(endpoints) == before
    assert not results.exists()


async def _databases(endpoints: Endpoints) -> list[str]:
    connection = await connect(endpoints.environment)
    try:
        return [row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database ORDER BY datname")]
    finally:
        await connection.close()


def _items(found: dict[str, list[str]]) -> int:
    return int(found["failures"][0].rpartition(" ")[2].replace(",", ""))
