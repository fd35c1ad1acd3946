"""Measures the time from the acknowledgement of an order by Kafka until it is visible in Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic

from bench import targets
from bench.bare_loop import BEGUN
from bench.builds import Build
from bench.engine_run import ready, running_engine, workers_of
from bench.measurements import Figure
from bench.programs import Program, helper, program
from bench.run import Contestant, Run
from bench.summary import percentile
from bench.testbed import connection, processor_s, settle
from bench.verification import verify_counts
from tests.support.isolation import own_topics

PARTS = frozenset({"latency"})
STEADY_PER_S, BURST_PER_S = 200, 3000
_KEEPS_UP_MS = 2 * 1000 / STEADY_PER_S
_WARM_UP_S = 1.0
_PROBE_TIMEOUT_S = 120.0
_BEGIN_TIMEOUT_S = 30.0
_SEED = 7


async def measure(run: Run) -> None:
    """Run rounds with the engine and the bare loop."""
    contestants = [
        Contestant("bare loop", partial(_bare_loop, run)),
        Contestant("engine, order by order", partial(_engine, run)),
    ]
    await run.run_rounds(contestants, run.plan.rounds)


async def _engine(run: Run, build: Build) -> Mapping[Figure, float]:
    plan = run.plan
    async with (
        _stores(run, build.database) as environment,
        running_engine(run.testbed, build, environment) as engine,
    ):
        await ready(engine)
        await _probe(run, environment, STEADY_PER_S, _WARM_UP_S, 0)
        before_s = _workers_s(engine)
        steady, errors = await _probe(run, environment, STEADY_PER_S, plan.latency_s, 1)
        spent_s = _workers_s(engine) - before_s
        burst, _ = await _probe(run, environment, BURST_PER_S, plan.burst_s, 2)
        await engine.stop()
        sent = int(STEADY_PER_S * _WARM_UP_S) + len(steady) + len(burst)
        await _verify(environment, sent)
    return {
        targets.LATENCY_P50: percentile(steady, 50),
        targets.LATENCY_P95: percentile(steady, 95),
        targets.LATENCY_P99: percentile(steady, 99),
        targets.LATENCY_PROCESSOR: spent_s / len(steady) * 1e6,
        targets.BURST_P50: percentile(burst, 50),
        targets.BURST_P99: percentile(burst, 99),
        targets.VISIBILITY_ERROR: percentile(errors, 99),
    }


def _workers_s(engine: Program) -> float:
    return sum(processor_s(worker.pid) for worker in workers_of(engine))


async def _bare_loop(run: Run, build: Build) -> Mapping[Figure, float]:
    if build != run.testbed.this:
        return {}  # it is the same program for all builds
    async with (
        _stores(run, run.testbed.reference) as environment,
        program("bare loop", helper("bare_loop"), environment, run.testbed.folder) as loop,
    ):
        deadline = monotonic() + _BEGIN_TIMEOUT_S
        while BEGUN not in loop.log.read_text(errors="replace"):
            loop.check()
            if monotonic() > deadline:
                raise loop.failure("has not started to consume")
            await asyncio.sleep(0.1)
        await _probe(run, environment, STEADY_PER_S, _WARM_UP_S, 0)
        steady, _ = await _probe(run, environment, STEADY_PER_S, run.plan.latency_s, 1)
        await loop.stop()
        await _verify(environment, int(STEADY_PER_S * _WARM_UP_S) + len(steady))
    if percentile(steady, 50) > _KEEPS_UP_MS:
        run.note(f"the bare loop did not keep up with {STEADY_PER_S} orders/s: its latency is that of a queue")
    return {
        targets.BARE_P50: percentile(steady, 50),
        targets.BARE_P95: percentile(steady, 95),
        targets.BARE_P99: percentile(steady, 99),
    }


@asynccontextmanager
async def _stores(run: Run, template: str) -> AsyncIterator[dict[str, str]]:
    async with run.testbed.stores(template) as stores, own_topics(run.testbed.environment) as topics:
        environment = {**stores, **topics}
        async with connection(environment) as database:
            await settle(database)
        yield environment


async def _probe(
    run: Run, environment: Mapping[str, str], per_s: float, seconds: float, stage: int
) -> tuple[list[float], list[float]]:
    """Publish for `seconds`. Returns the latencies of the orders and the measurement errors, in milliseconds."""
    command = helper("latency_probe", str(per_s), str(seconds), str(_SEED + stage))
    async with program("latency probe", command, environment, run.testbed.folder) as probe:
        await probe.wait(_PROBE_TIMEOUT_S + seconds)
        found = json.loads(probe.log.read_text().splitlines()[-1])
    return found["latencies_ms"], found["errors_ms"]


async def _verify(environment: Mapping[str, str], orders: int) -> None:
    async with connection(environment) as database:
        verify_counts({"orders": await database.fetchval("SELECT count(*) FROM orders")}, {"orders": orders})
