"""A test run that is killed leaves no services behind."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psutil

from tests.support.eventually import eventually
from tests.support.isolation import unique
from tests.support.programs import RUN_MARK

RUN = """
import subprocess, sys, time
from pathlib import Path
from orderflow.services.process import DetachedProcess, bare_environment
from tests.support.lifeline import lifeline

directory, mark, variable = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with lifeline(directory, mark):
    run = directory / "deep" / "run"
    service = DetachedProcess("A service", run / "service.pid", run / "service.log")
    service.spawn(["sleep", "60"], port=1, environment=bare_environment())
    program = subprocess.Popen(["sleep", "60"], start_new_session=True, env={variable: mark, "PATH": "/usr/bin:/bin"})
    print(service.pid, program.pid, flush=True)
    time.sleep(60)
"""


async def test_the_services_and_programs_of_a_run_that_is_killed_end_with_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, tmp_path, unique("mark"), RUN_MARK), stdout=PIPE, env=environment
    )
    assert run.stdout is not None
    left = [psutil.Process(int(pid)) for pid in (await run.stdout.readline()).split()]
    assert len(left) == 2
    run.kill()
    await run.wait()

    async def living() -> list[psutil.Process]:
        return [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    assert await eventually(living, lambda found: not found) == []
