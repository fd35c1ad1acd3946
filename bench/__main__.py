"""The command line of the benchmark: `python -m bench`, in the project's folder."""

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from bench.base import NoRevision, Revision, base_build, find_revision
from bench.builds import Build
from bench.comparison import Outcome, compare
from bench.comparison_table import heading
from bench.comparison_table import render as render_comparison
from bench.curve import curve, size_figures
from bench.machine import cores
from bench.measure import measure
from bench.plan import PARTS, PEERS, REFERENCES, SERVERS, Plan, default_parts, planned
from bench.programs import ProgramFailed
from bench.results import LATEST, comparison, write
from bench.run import Run
from bench.table import render, render_goals
from bench.targets import AGAINST_BASE, GOALS
from bench.widths import wide_figures, widths
from orderflow.demo.signals import until_signalled
from orderflow.start.logs import quieten_libraries
from orderflow.start.project import services_directory
from orderflow.start.settings import variables

_INTERRUPTED = 130
_FEWEST_STORED = 1000


def _parts(_context: click.Context, _parameter: click.Parameter, text: str) -> frozenset[str]:
    return frozenset(_names(text, PARTS))


def _servers(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...] | None:
    return _names(text, SERVERS) or None


def _names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(set(chosen) - set(known)):
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
    return chosen


def _sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...] | None:
    try:
        sizes = tuple(int(size) for size in text.replace("_", "").split(",") if size.strip())
    except ValueError:
        sizes = (0,)
    if any(size < _FEWEST_STORED for size in sizes):
        raise click.BadParameter(f"numbers of at least {_FEWEST_STORED:,}, separated by commas")
    return sizes or None


def _revision(_context: click.Context, _parameter: click.Parameter, name: str) -> Revision | None:
    try:
        return find_revision(name) if name else None
    except NoRevision as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--quick", is_flag=True, help="A small run of a few minutes, to check that everything works.")
@click.option("--only", callback=_parts, default="", metavar="NAME[,NAME]", help=f"Parts: {', '.join(PARTS)}.")
@click.option("--rounds", type=click.IntRange(1, 100), help="The number of rounds: each measures everything once.")
@click.option("--orders", type=click.IntRange(1000), help="Messages in the backlog.")
@click.option("--stored", type=click.IntRange(1000), help="Orders in the large tables.")
@click.option("--memory-orders", type=click.IntRange(1000), help="Messages in the backlog of the memory part.")
@click.option(
    "--sizes", callback=_sizes, default="", metavar="ORDERS[,ORDERS]", help="Stored orders in the part `sizes`."
)
@click.option(
    "--servers", callback=_servers, default="", metavar="NAME[,NAME]", help=f"Servers of `sizes`: {', '.join(SERVERS)}."
)
@click.option("--unpacked-mb", type=click.IntRange(1), help="Uncompressed size of the compressed backlog in megabytes.")
@click.option("--lookup-orders", type=click.IntRange(100), help="Orders that are looked up.")
@click.option("--lookup-s", type=click.FloatRange(1), help="For how many seconds cached orders are looked up.")
@click.option("--latency-s", type=click.FloatRange(1), help="Seconds of publishing at a steady rate.")
@click.option(
    "--peer",
    envvar="PEER",
    default="",
    metavar="COMMAND",
    help="Another program to run beside the engine; see bench/peer.py.",
)
@click.option(
    "--lookup-peer",
    envvar="LOOKUP_PEER",
    default="",
    metavar="COMMAND",
    help="Another program that answers lookups, to run beside the server; see bench/lookup_peer.py.",
)
@click.option(
    "--base",
    callback=_revision,
    default="",
    metavar="REVISION",
    help="Another revision of this repository: both builds are measured in turn and compared.",
)
@click.option("--random-uids", is_flag=True, help="Random uids, which are spread over the whole index.")
@click.option("--seed", type=int, help="The seed of the generated orders.")
@click.option("--plots", is_flag=True, help="Also measure by batch size, and draw docs/images/bench-*.svg.")
@click.option("--results", type=click.Path(path_type=Path), default=LATEST, help="Where to write the JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a target is missed.")
def main(
    *,
    quick: bool,
    only: frozenset[str],
    peer: str,
    lookup_peer: str,
    base: Revision | None,
    plots: bool,
    results: Path,
    strict: bool,
    **sizes: Any,
) -> None:
    """Measure orderflow on real services, in interleaved rounds, and print a table.

    Exits with 1 if a part failed, a run lost an order, or this build is worse than --base. A missed target is
    reported.
    """
    # The user's own services must not be touched: none of the user's settings may reach the programs that are started.
    for name in [*variables(), *(name for name in os.environ if name.startswith("PG"))]:
        os.environ.pop(name, None)
    peers = frozenset(part for part, command in (("peer", peer), ("lookup-peer", lookup_peer)) if command)
    parts = only or default_parts(quick=quick, plots=plots, base=base is not None, peers=peers)
    if missing := sorted((parts & PEERS) - peers):
        raise click.UsageError(f"the part '{missing[0]}' needs --{missing[0]} COMMAND")
    if base and (alone := sorted(parts & REFERENCES)):
        raise click.UsageError(f"--base compares only builds of orderflow: it cannot be used with {', '.join(alone)}")
    if plots and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plots needs matplotlib: pip install --require-hashes -r bench/requirements.lock")
    quieten_libraries()  # a topic with many partitions is retried hundreds of times before it has its leaders
    plan = planned(parts, peer, quick=quick, base=base is not None, chosen={**sizes, "lookup_peer": lookup_peer})
    sys.exit(asyncio.run(_main(plan, base, results, plots=plots, strict=strict)))


async def _main(plan: Plan, base: Revision | None, results: Path, *, plots: bool, strict: bool) -> int:
    services_directory().mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=services_directory()))
    codes: list[int] = []

    async def flow() -> None:
        async with AsyncExitStack() as stack:
            others = []
            if base:
                print(f"setting up {base.title}; this takes minutes", file=sys.stderr, flush=True)
                others.append(await _set_up(base, stack))
            run, found = await measure(plan, folder, others)
        codes.append(_report(run, base, found, results, plots=plots, strict=strict))

    try:
        if await until_signalled(flow()):
            return _INTERRUPTED
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return codes[0]


async def _set_up(base: Revision, stack: AsyncExitStack) -> Build:
    try:
        return await stack.enter_async_context(base_build(base))
    except ProgramFailed as error:
        raise click.ClickException(f"{base.title} cannot be set up: {error}") from None


def _report(run: Run, base: Revision | None, found: dict[str, Any], results: Path, *, plots: bool, strict: bool) -> int:
    """Print the table, write the results, and return the exit code."""
    compared = compare(run.measurements, run.base, AGAINST_BASE) if base else []
    if base:
        found["comparison"] = comparison(base, compared, run.runs)
    write(found, results)
    if base:
        print(heading(base, found["commit"], run.plan) + render_comparison(compared))
        if goals := render_goals(run.measurements, GOALS, cores()):
            print(f"\nThe goals of this build, in the same rounds:\n\n{goals}")
    elif run.measurements.values.keys() - (tabled := size_figures(run.plan) | wide_figures(run.plan)):
        print(render(run.measurements, GOALS, cores(), tabled))
    if by_size := curve(run.measurements, run.plan):
        print(f"\nBy the number of stored orders:\n\n{by_size}")
    for title, by_width in widths(run.measurements, run.plan).items():
        print(f"\n{title}:\n\n{by_width}")
    if plots:
        from bench.plots import draw  # noqa: PLC0415 (matplotlib is an optional package)

        draw(found)
    for note in run.measurements.notes:
        print(f"Note: {note}")
    for failure in run.measurements.failures:
        print(f"FAILED {failure}")
    worse = any(one.outcome is Outcome.WORSE for one in compared)
    missed = not all(goal["met"] for goal in found["goals"]) or any(one.met is False for one in compared)
    return 1 if run.measurements.failures or worse or (strict and missed) else 0


if __name__ == "__main__":
    main()
