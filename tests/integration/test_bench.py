"""`make bench`, from its command line to its results, with tiny numbers."""

import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from bench.base import base_build, find_revision
from bench.builds import this_build
from bench.comparison import compare
from bench.measure import measure
from bench.plan import planned
from bench.programs import ProgramFailed
from bench.targets import LOOKUP_KINDS, lookups
from bench.testbed import redis_url
from orderflow.start.project import project_root
from orderflow.start.settings import parse_settings
from tests.support.endpoints import Endpoints
from tests.support.git import new_repository
from tests.support.isolation import connect, unique
from tests.support.programs import Programs, marked

_TINY = ("--rounds", "1", "--orders", "1000", "--lookup-orders", "200", "--lookup-s", "1", "--latency-s", "1")
_SIZES_TINY = ("--sizes", "1000", "--servers", "embedded")
_LONG_PARTS_TINY = ("--stored", "1000", "--memory-orders", "1000", "--unpacked-mb", "20", *_SIZES_TINY)
_TIMEOUT_S = 300  # a busy machine may take ten times as long as an idle one
pytestmark = pytest.mark.timeout(400)


def given(endpoints: Endpoints) -> dict[str, str]:
    """Return the variables that name this run's services to another one."""
    settings = parse_settings(endpoints.environment)
    return {
        "TEST_POSTGRES_URL": settings.postgres_url(),
        "TEST_REDIS_URL": redis_url(settings),
        "TEST_KAFKA_BROKERS": ",".join(settings.kafka_bootstrap),
    }


@pytest.fixture
async def bench(endpoints: Endpoints, tmp_path: Path) -> AsyncIterator[Programs]:
    """Provide a runner of programs with nothing in their environment but where this run's services are."""
    environment = {**given(endpoints), "PYTHONPATH": str(project_root())}
    programs = Programs(environment, tmp_path, mark=unique("bench_test"))
    yield programs
    await programs.close()


@pytest.mark.long
async def test_a_tiny_run_measures_everything_it_is_asked_for(bench: Programs, tmp_path: Path) -> None:
    """The engine, the yardstick, latency and lookups run side by side; the table and the JSON have all of it."""
    results = tmp_path / "results.json"
    parts = ("--only", "ingest,yardstick,latency,lookups,lookup-peer")
    peer = ("--lookup-peer", f"{sys.executable} -m tests.support.lookup_program {{addr}} {{dsn}}")
    run = await bench.start("--quick", *parts, *peer, *_TINY, "--results", str(results), module="bench")
    assert await run.ended(timeout_s=_TIMEOUT_S) == 0, run.tail()
    found = json.loads(results.read_text())
    assert found["failures"] == []
    assert {"cores", "memory_gib", "kernel"} <= found["machine"].keys()
    assert {"python", "postgresql", "redis", "kafka", "libraries"} <= found["versions"].keys()
    measured = {"copy_limit", "ingest", "yardstick", "latency_p50", "bare_loop_p50", "latency_3000_p99"}
    measured |= {
        figure.key
        for server in ("orderflow", "plain", "peer")
        for kind in LOOKUP_KINDS
        for figure in attrs.astuple(lookups(kind, 1, server), recurse=False)
    }
    measured |= {"latency_processor", "memory_ingest", "memory_http"}
    assert measured <= found["figures"].keys()
    assert all(found["figures"][key]["median"] > 0 for key in measured)
    judged = {(goal["figure"], goal["reference"]): goal for goal in found["goals"]}
    assert judged["ingest", "copy_limit"]["target"] == "≥ 1.1 ×"
    assert ("lookups_orderflow_cold_1_p99", "lookups_peer_cold_p99") in judged
    assert any("Raw COPY limit" in line and "≥ 1.1 ×" in line for line in run.stdout_lines)


@pytest.mark.long
async def test_a_part_that_fails_ends_with_1_and_the_others_go_on(bench: Programs, tmp_path: Path) -> None:
    """A peer that stores nothing has lost every order: its run does not count, and the engine's does."""
    results = tmp_path / "results.json"
    arguments = (
        "--only",
        "peer,stored,memory,compressed,recovery,sizes,wide",
        "--peer",
        "true {redis_url}",
        "--results",
        str(results),
    )
    run = await bench.start("--quick", *arguments, *_TINY, *_LONG_PARTS_TINY, module="bench")
    assert await run.ended(timeout_s=_TIMEOUT_S) == 1, run.tail()
    found = json.loads(results.read_text())
    assert found["failures"] == [
        "peer: OrdersLost: orders: 0 of 1,000; deliveries: 0 of 1,000; payments: 0 of 1,000; "
        f"order_items: 0 of {_items(found):,}"
    ]
    measured = {"ingest", "ingest_stored", "ready_stored", "memory_peak", "memory_compressed", "recovery"}
    assert measured <= found["figures"].keys()
    assert "peer" not in found["figures"]
    assert {"stored_embedded_ingest_0", "stored_embedded_cold_p99_1000"} <= found["figures"].keys()
    assert {"wide_ingest_2_64_idle", "wide_lookups_cold_2_processor"} <= found["figures"].keys()
    assert any(line.startswith("| embedded   |  1,000 |") for line in run.stdout_lines)


@pytest.mark.long
async def test_two_builds_are_measured_in_turn(
    endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each works on databases of its own migrations, twice in a round; what was measured is there for both."""
    for name, value in given(endpoints).items():
        monkeypatch.setenv(name, value)
    sizes = {"rounds": 1, "orders": 1000}
    plan = planned(frozenset({"ingest"}), "", quick=True, base=True, chosen=sizes)
    run, _ = await measure(plan, tmp_path, [attrs.evolve(this_build(), name="base")])
    assert run.measurements.failures == []
    this, base = (build.database for build in reversed(run.testbed.builds))
    assert this != base
    assert [(turn["build"], len(turn["figures"]["ingest"])) for turn in run.runs[:2]] == [("base", 2), ("this", 2)]
    compared = {one.figure.key: one.gains for one in compare(run.measurements, run.base)}
    assert {"ingest", "ready"} <= compared.keys()
    assert "copy_limit" not in compared
    assert {len(gains) for gains in compared.values()} == {1}


PYTHON = str(Path(sys.executable).resolve())
MAKEFILE = """\
setup:
	@echo "$(MAKELEVEL) $(PYTHON)" > said
	@test ! -e broken || { echo "a package is missing"; exit 1; }
"""


async def test_a_base_is_built_by_its_own_make_and_leaves_nothing(tmp_path: Path) -> None:
    """A clone at that revision, not at the newest; this build's Python; what does not build says why."""
    git = new_repository(tmp_path / "repository")
    for files in ({"Makefile": MAKEFILE}, {"broken": ""}):
        assert git.commit(**files).returncode == 0
    async with base_build(find_revision("HEAD~1", git.folder), git.folder) as build:
        assert (build.name, build.python) == ("base", build.root / ".venv" / "bin" / "python")
        level, python = (build.root / "said").read_text().split()
        assert (level, python) == ("0", PYTHON)
        assert not build.root.is_relative_to(project_root())
    assert not build.root.parent.exists()
    with pytest.raises(ProgramFailed, match="a package is missing"):
        async with base_build(find_revision("HEAD", git.folder), git.folder):
            raise AssertionError("it was built")


@pytest.mark.long
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
