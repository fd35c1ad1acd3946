"""Measures how ingest, cold lookups, lists and the start depend on the number of stored orders, on several servers."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random
from statistics import median
from time import perf_counter

import aiohttp
import attrs

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import run_engine
from bench.load import WrongAnswers, ask_once
from bench.measurements import Figure
from bench.plan import EMBEDDED, LARGE, SMALL
from bench.run import Contestant, Run
from bench.servers import empty_cache, lookup_server
from bench.stored_orders import StoredOrders, Template, stored_uid, templates
from bench.testbed import Testbed, connection, with_postgresql
from tests.support.postgresql_servers import debian_programs, own_postgresql

PARTS = frozenset({"sizes"})
_SETTINGS = {
    SMALL: ("shared_buffers = 128MB", "max_wal_size = 1GB"),
    LARGE: ("shared_buffers = 1GB", "max_wal_size = 8GB"),
}
"""The defaults of PostgreSQL, and what `orderflow doctor` advises. The lines replace those of the embedded server."""
_SHARE = 2
"""The backlog is half of the backlog of the part `ingest`."""
_BYTES_AN_ORDER = 1500
_BYTES_BESIDE = 5 << 30
"""For the write-ahead log of all servers, Kafka's topics, and logs."""
_LOOKUPS, _WARM_UP = 10_000, 500
_PAGES = 100
_PAGE_TIMEOUT_S = 60.0
_OK = 200


async def measure(run: Run) -> None:
    """Fill a topic. Then start one server after another, fill its tables to each size, and run the rounds."""
    plan = run.plan
    sizes = sizes_that_fit(run)
    mixture = Mixture(count=plan.orders // _SHARE, seed=plan.seed, random_uids=plan.random_uids)
    async with backlog(run.testbed.environment, mixture) as messages:
        for server in plan.servers:
            try:
                async with _testbed_on(run, server) as testbed:
                    if testbed is not None:
                        await _Sizes(run, testbed, server, messages).run_rounds(sizes)
            except Exception as error:
                run.fail(f"sizes, {server}", error)


def sizes_that_fit(run: Run) -> Sequence[int]:
    """Return the sizes for which the disk has room, in rising order, and note the others."""
    free, sizes = shutil.disk_usage(run.testbed.folder).free, sorted(set(run.plan.sizes))
    while sizes and (needed := _bytes_needed(sizes, len(run.testbed.builds))) > free:
        wanted = f"{sizes.pop():,} stored orders need {needed / 1e9:.0f} GB of free disk"
        run.note(f"left out: {wanted}, there are {free / 1e9:.0f}")
    return sizes


def _bytes_needed(sizes: Sequence[int], builds: int) -> int:
    """All sizes exist at the same time, and the largest once more, for the run that adds orders to it."""
    return (sum(sizes) * builds + max(sizes)) * _BYTES_AN_ORDER + _BYTES_BESIDE


@asynccontextmanager
async def _testbed_on(run: Run, server: str) -> AsyncIterator[Testbed | None]:
    """Provide the testbed with that PostgreSQL server. None, with a note, if it is not installed."""
    if server == EMBEDDED:
        yield run.testbed
        return
    programs = debian_programs()
    if programs is None:
        run.note("left out: PostgreSQL with its own defaults needs Debian's packages (apt-get install postgresql)")
        yield None
        return
    folder = run.testbed.folder / f"postgresql-{server}"
    try:
        async with (
            own_postgresql(folder, *_SETTINGS[server], programs=programs) as started,
            with_postgresql(run.testbed, started.environment) as testbed,
        ):
            yield testbed
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@attrs.frozen
class _Sizes:
    """The measurements on one server."""

    run: Run
    testbed: Testbed
    server: str
    messages: Backlog

    async def run_rounds(self, sizes: Sequence[int]) -> None:
        """Fill tables of each size, then run the rounds."""
        async with AsyncExitStack() as stack:
            empty = {build: Template(build.database, StoredOrders(0, 0)) for build in self.testbed.builds}
            contestants = [Contestant(f"{self.server}, empty", partial(self.measure, 0, empty))]
            for size in sizes:
                self.run.print_progress(f"{self.server}: storing {size:,} orders")
                began = perf_counter()
                filled = templates(self.testbed, size, random_uids=self.run.plan.random_uids)
                filled_templates = await stack.enter_async_context(filled)
                seconds, stored_bytes = perf_counter() - began, await self.bytes_of(filled_templates)
                self.run.print_progress(
                    f"{self.server}: stored {size:,} orders in {seconds:.0f} s, {stored_bytes / size:,.0f} bytes each"
                )
                contestants.append(
                    Contestant(f"{self.server}, {size:,} stored", partial(self.measure, size, filled_templates))
                )
            await self.run.run_rounds(contestants, self.run.plan.rounds)

    async def bytes_of(self, filled: Mapping[Build, Template]) -> int:
        """Return the size on disk of the largest of the databases."""
        async with connection(self.testbed.environment) as database:
            names = [template.database for template in filled.values()]
            return int(
                await database.fetchval("SELECT max(pg_database_size(name)) FROM unnest($1::text[]) name", names)
            )

    async def measure(self, size: int, filled: Mapping[Build, Template], build: Build) -> Mapping[Figure, float]:
        """Look orders up and list them, then add the backlog to a copy of the tables."""
        here = next(each for each in self.testbed.builds if each.name == build.name)
        figures = targets.stored_size(self.server, size)
        reads = await self.read(size, here, filled[here]) if size else {}
        finished = await run_engine(self.testbed, here, self.messages, template=filled[here])
        ready = {} if finished.ready_s is None else {figures.ready: finished.ready_s}
        return {figures.ingest: finished.orders_per_s, **ready, **reads}

    async def read(self, size: int, build: Build, template: Template) -> Mapping[Figure, float]:
        """Look up orders that are stored everywhere in the tables, each once, and read the newest pages of the list."""
        plan, figures = self.run.plan, targets.stored_size(self.server, size)
        numbers = Random(plan.seed).sample(range(size), min(size, _WARM_UP + min(_LOOKUPS, plan.lookup_orders)))
        uids = [stored_uid(number, random_uids=plan.random_uids) for number in numbers]
        async with self.testbed.redis(template.database) as environment:
            await empty_cache(environment)
            async with lookup_server(self.testbed, build, environment) as (server, port), server.serving():
                await ask_once(self.testbed, port, uids[:_WARM_UP])
                cold = await ask_once(self.testbed, port, uids[_WARM_UP:])
                page_ms = await _page_ms(port)
        return {figures.cold_p99: cold.p99_ms, figures.page: page_ms}


async def _page_ms(port: int) -> float:
    """Return the median time of a page of `GET /orders`, from the newest page on, in milliseconds."""
    times, query = [], ""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PAGE_TIMEOUT_S)) as session:
        for _ in range(_PAGES):
            began = perf_counter()
            async with session.get(f"http://127.0.0.1:{port}/orders{query}") as answer:
                if answer.status != _OK:
                    raise WrongAnswers(f"GET /orders{query} was answered with status {answer.status}")
                found = await answer.json()
            times.append(perf_counter() - began)
            if found["next"] is None:
                break
            query = f"?before={found['next']}"
    return median(times) * 1000
