"""One complete run: starts the services, measures, and returns the results."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.builds import Build
from bench.machine import commit, cores, machine, versions
from bench.parts import PARTS_IN_ORDER
from bench.plan import Plan
from bench.results import document
from bench.run import Run
from bench.targets import GOALS
from bench.testbed import testbed
from orderflow.services.process import signal_all, wait_until_gone
from tests.support.programs import marked

_STRAYS_WAIT_S = 5.0


async def measure(plan: Plan, folder: Path, others: Sequence[Build]) -> tuple[Run, dict[str, Any]]:
    """Measure this build, and `others` in turn with it. Returns the run, and its results for the JSON file.

    A part that fails is recorded, and the other parts are still measured. Logs and data files are in `folder`.
    """
    before = machine()
    async with testbed(folder, others) as bed:
        run = Run(plan, bed)
        run.print_progress(f"services: {bed.endpoints.origins}; load average before: {before['load_average'][0]}")
        try:
            for names, part in PARTS_IN_ORDER:
                if names & plan.parts:
                    try:
                        await part(run)
                    except Exception as error:
                        run.fail(" ".join(sorted(names & plan.parts)), error)
            about = {"machine": before, "versions": await versions(bed), "commit": commit()}
        finally:
            await _end_strays(bed.mark)
    return run, document(plan, run.measurements, GOALS, about, cores())


async def _end_strays(mark: str) -> None:
    strays = marked(mark)
    if strays and not await wait_until_gone(strays, _STRAYS_WAIT_S):
        print(f"bench: ended leftover processes: {[process.pid for process in strays]}", file=sys.stderr)
        signal_all(strays, 9)
