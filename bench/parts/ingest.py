"""Measures how fast a backlog is consumed: by raw COPY, by the engine with several settings, and by other programs."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any

import attrs

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.binary_rows import PackedOrders, pack_orders
from bench.builds import Build
from bench.copy_limit import ORDERS_A_TRANSACTION, copy_limit
from bench.engine_run import EngineRun, run_engine
from bench.measurements import Figure
from bench.memory_peaks import MB
from bench.orders import encoded_orders
from bench.peer import PeerRun, run_peer, run_yardstick
from bench.run import Contestant, Run
from bench.stored_orders import Template, templates

PARTS = frozenset({"ingest", "invalid", "repeats", "stored", "observability", "yardstick", "peer"})
_INVALID_SHARE = 0.01
_REPEAT_SHARE = 0.05

Measure = Callable[[Build], Awaitable[Mapping[Figure, float]]]


async def measure(run: Run) -> None:
    """Fill topics and tables, then run the rounds."""
    async with AsyncExitStack() as stack:
        contestants = await _Preparation(run, stack).contestants()
        if run.plan.warm_up:
            run.print_progress("warm-up (not counted)")
            for contestant in contestants[:2]:
                for build in run.testbed.builds:
                    await contestant.measure(build)
            run.measurements.details.clear()
        await run.run_rounds(contestants, run.plan.rounds)


@attrs.frozen
class _Preparation:
    """Fills topics and tables, and creates the contestants that use them."""

    run: Run
    stack: AsyncExitStack

    async def contestants(self) -> list[Contestant]:
        parts = self.run.plan.parts
        clean = await self.backlog("clean")
        chosen = [Contestant("ingest", self.engine(clean, _of_clean))]
        if "ingest" in parts and not self.run.compares:
            chosen.insert(0, await self.copy_limit())
        if "observability" in parts:
            chosen.append(
                Contestant("log level warning", self.engine(clean, _rate(targets.INGEST_QUIET), LOG_LEVEL="warning"))
            )
        if "peer" in parts:
            chosen.append(Contestant("peer", self.other(targets.PEER, run_peer, clean, self.run.plan.peer)))
        if "yardstick" in parts:
            chosen.append(Contestant("yardstick", self.other(targets.YARDSTICK, run_yardstick, clean)))
        if "invalid" in parts:
            mixed = await self.backlog("1 % invalid", invalid_share=_INVALID_SHARE)
            chosen.append(Contestant("1 % invalid", self.engine(mixed, _rate(targets.INGEST_INVALID))))
        if "repeats" in parts:
            mixed = await self.backlog("5 % repeats", repeat_share=_REPEAT_SHARE)
            chosen.append(Contestant("5 % repeats", self.engine(mixed, _rate(targets.INGEST_REPEATS))))
        if "stored" in parts:
            chosen.append(await self.large_tables(clean))
        return chosen

    async def backlog(self, name: str, *, invalid_share: float = 0.0, repeat_share: float = 0.0) -> Backlog:
        plan = self.run.plan
        self.run.print_progress(f"filling a topic with {plan.orders:,} messages: {name}")
        mixture = Mixture(
            count=plan.orders,
            seed=plan.seed,
            random_uids=plan.random_uids,
            invalid_share=invalid_share,
            repeat_share=repeat_share,
        )
        return await self.stack.enter_async_context(backlog(self.run.testbed.environment, mixture))

    async def copy_limit(self) -> Contestant:
        plan, testbed = self.run.plan, self.run.testbed
        self.run.print_progress(f"packing {plan.orders:,} orders into binary rows")
        orders = islice(encoded_orders(plan.seed, random_uids=plan.random_uids), plan.orders)
        packed: PackedOrders = pack_orders(
            (order.value for order in orders), testbed.folder / "packed", ORDERS_A_TRANSACTION
        )

        async def measure(_build: Build) -> Mapping[Figure, float]:
            rate, spent = await copy_limit(testbed, packed)
            return {targets.COPY_LIMIT: rate, targets.PROCESSOR_ALL[targets.COPY_LIMIT]: spent}

        return Contestant("copy limit", measure)

    async def large_tables(self, clean: Backlog) -> Contestant:
        plan, testbed = self.run.plan, self.run.testbed
        self.run.print_progress(f"storing {plan.stored:,} orders")
        filled = await self.stack.enter_async_context(templates(testbed, plan.stored, random_uids=plan.random_uids))

        def figures(run: EngineRun) -> Mapping[Figure, float]:
            return {targets.INGEST_STORED: run.orders_per_s, **_ready(targets.READY_STORED, run)}

        return Contestant(f"{plan.stored:,} stored", self.engine(clean, figures, filled))

    def engine(
        self,
        messages: Backlog,
        figures: Callable[[EngineRun], Mapping[Figure, float]],
        filled: Mapping[Build, Template] | None = None,
        **settings: Any,
    ) -> Measure:
        async def measure(build: Build) -> Mapping[Figure, float]:
            template = filled[build] if filled else None
            finished = await run_engine(self.run.testbed, build, messages, template=template, **settings)
            found = figures(finished)
            self.run.detail(next(iter(found)), build, finished)
            return found

        return measure

    def other(self, figure: Figure, runs: Callable[..., Awaitable[PeerRun]], *arguments: Any) -> Measure:
        async def measure(build: Build) -> Mapping[Figure, float]:
            finished = await runs(self.run.testbed, *arguments)
            self.run.detail(figure, build, finished)
            return {figure: finished.orders_per_s, targets.PROCESSOR_ALL[figure]: sum(finished.processor_us.values())}

        return measure


def _of_clean(run: EngineRun) -> Mapping[Figure, float]:
    return {
        targets.INGEST: run.orders_per_s,
        targets.INGEST_CACHED: run.cached_per_s,
        targets.INGEST_WALL: run.wall_s,
        targets.MEMORY_INGEST: run.memory_bytes / MB,
        **_ready(targets.READY, run),
        **{targets.PROCESSOR[name]: spent for name, spent in run.processor_us.items()},
        targets.PROCESSOR_ALL[targets.INGEST]: sum(run.processor_us.values()),
    }


def _ready(figure: Figure, run: EngineRun) -> Mapping[Figure, float]:
    return {} if run.ready_s is None else {figure: run.ready_s}


def _rate(figure: Figure) -> Callable[[EngineRun], Mapping[Figure, float]]:
    return lambda run: {figure: run.orders_per_s}
