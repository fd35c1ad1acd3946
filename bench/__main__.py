"""The command line of the benchmark: `python -m bench`, in the project's folder."""

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.machine import commit, cores, machine, versions
from bench.parts import PARTS_IN_ORDER
from bench.plan import PARTS, QUICK, Plan, default_parts
from bench.results import LATEST, document, write
from bench.run import Run
from bench.table import render
from bench.targets import GOALS
from bench.testbed import testbed
from orderflow.demo.signals import until_signalled
from orderflow.project import services_directory
from orderflow.services.process import gone, signal_all
from orderflow.settings import variables
from tests.support.programs import marked

_INTERRUPTED = 130
_STRAYS_WAIT_S = 5.0


def _parts(_context: click.Context, _parameter: click.Parameter, text: str) -> frozenset[str]:
    chosen = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := chosen - set(PARTS):
        raise click.BadParameter(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return chosen


@click.command()
@click.option("--quick", is_flag=True, help="A small run, within two minutes, to see that everything works.")
@click.option("--only", callback=_parts, default="", metavar="NAME[,NAME]", help=f"Parts: {', '.join(PARTS)}.")
@click.option("--rounds", type=click.IntRange(1, 100), help="How often everything is measured.")
@click.option("--orders", type=click.IntRange(1000), help="Messages in the backlog.")
@click.option("--stored", type=click.IntRange(1000), help="Orders in the large tables.")
@click.option("--memory-orders", type=click.IntRange(1000), help="Messages in the backlog of the memory part.")
@click.option("--lookup-orders", type=click.IntRange(100), help="Orders that are looked up.")
@click.option("--lookup-s", type=click.FloatRange(1), help="How many seconds cached orders are looked up.")
@click.option("--latency-s", type=click.FloatRange(1), help="How many seconds orders are published at a steady rate.")
@click.option(
    "--peer",
    envvar="PEER",
    default="",
    metavar="COMMAND",
    help="Another program to run beside the engine; see bench/peer.py.",
)
@click.option("--random-uids", is_flag=True, help="Uids that are spread over the whole index.")
@click.option("--seed", type=int, help="Another seed makes other orders.")
@click.option(
    "--plots", is_flag=True, help="Measure by batch size and table size too, and draw docs/images/bench-*.svg."
)
@click.option("--results", type=click.Path(path_type=Path), default=LATEST, help="Where to write the JSON.")
@click.option("--strict", is_flag=True, help="A target that is missed is a failure.")
def main(
    *, quick: bool, only: frozenset[str], peer: str, plots: bool, results: Path, strict: bool, **sizes: Any
) -> None:
    """Measure orderflow on real services, with everything interleaved in rounds, and print a table.

    Exits 1 when a part failed or a run lost an order. A target that is missed is reported.
    """
    # The user's own services must stay untouched: no setting of theirs reaches a program that this starts.
    for name in [*variables(), *(name for name in os.environ if name.startswith("PG"))]:
        os.environ.pop(name, None)
    chosen = {name: value for name, value in sizes.items() if value not in {None, False}}
    parts = only or default_parts(quick=quick, plots=plots, peer=bool(peer))
    if "peer" in parts and not peer:
        raise click.UsageError("the part 'peer' needs --peer COMMAND")
    if plots and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plots needs matplotlib: pip install --require-hashes -r bench/requirements.lock")
    plan = Plan(parts=parts, peer=peer, **{**(QUICK if quick else {}), **chosen})
    sys.exit(asyncio.run(_main(plan, results, plots=plots, strict=strict)))


async def _main(plan: Plan, results: Path, *, plots: bool, strict: bool) -> int:
    services_directory().mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=services_directory()))
    codes: list[int] = []

    async def flow() -> None:
        codes.append(await _measure(plan, folder, results, plots=plots, strict=strict))

    try:
        if await until_signalled(flow()):
            return _INTERRUPTED
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return codes[0]


async def _measure(plan: Plan, folder: Path, results: Path, *, plots: bool, strict: bool) -> int:
    before = machine()
    async with testbed(folder, ()) as bed:
        run = Run(plan, bed)
        run.say(f"services: {bed.endpoints.origins}; load average before: {before['load_average'][0]}")
        try:
            for names, measure in PARTS_IN_ORDER:
                if names & plan.parts:
                    try:
                        await measure(run)
                    except Exception as error:
                        run.fail(" ".join(sorted(names & plan.parts)), error)
            about = {"machine": before, "versions": await versions(bed), "commit": commit()}
        finally:
            await _end_strays(bed.mark)
    found = document(plan, run.measurements, GOALS, about, cores())
    write(found, results)
    print(render(run.measurements, GOALS, cores()))
    if plots:
        from bench.plots import draw  # noqa: PLC0415 (matplotlib is not among the packages that everybody needs)

        draw(found)
    for note in run.measurements.notes:
        print(f"Note: {note}")
    for failure in run.measurements.failures:
        print(f"FAILED {failure}")
    missed = strict and not all(goal["met"] for goal in found["goals"])
    return 1 if run.measurements.failures or missed else 0


async def _end_strays(mark: str) -> None:
    strays = marked(mark)
    if strays and not await gone(strays, _STRAYS_WAIT_S):
        print(f"bench: ended processes that were left: {[process.pid for process in strays]}", file=sys.stderr)
        signal_all(strays, 9)


if __name__ == "__main__":
    main()
