"""The programs that the demo runs: `orderflow` commands to their end, and honcho with engine and HTTP server."""

import asyncio
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psutil

from orderflow.demo.lost import RecordFile, stop_processes
from orderflow.demo.signals import say
from orderflow.exits import CannotStart, Failed
from orderflow.services.process import family
from orderflow.start.project import project_root

_TAIL_LINES = 15
_STOPPED = re.compile(r"(\w+)\.\d+ stopped \(rc=(-?\d+)\)")


async def run_orderflow(*arguments: str, environment: Mapping[str, str], folder: Path) -> str:
    """Run `orderflow` with `arguments` to its end and return its standard output; its progress is passed on.

    Raises `CannotStart` or `Failed` when it fails. When it is cancelled the command is killed.
    """
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orderflow",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )
    try:
        output, _ = await program.communicate()
    except asyncio.CancelledError:
        os.killpg(program.pid, signal.SIGKILL)
        await program.wait()
        raise
    if program.returncode:
        error = CannotStart if program.returncode == CannotStart.exit_code else Failed
        raise error(f"'orderflow {' '.join(arguments)}' failed (exit code {program.returncode}): see the line above")
    return output.decode()


@attrs.frozen
class Honcho:
    """honcho with the processes of the Procfile. Their output goes to `log`, behind what earlier runs left there."""

    process: asyncio.subprocess.Process
    log: Path
    log_begin: int

    async def watch(self) -> None:
        """Wait until honcho ends, which it does when one of its processes ends. Always raises `Failed`."""
        await self.process.wait()
        raise Failed(f"{self._who_stopped()}: {self.show_log()}")

    def _who_stopped(self) -> str:
        with self.log.open("rb") as lines:
            lines.seek(self.log_begin)
            first = _STOPPED.search(lines.read().decode(errors="replace"))
        if first is None:
            return f"honcho stopped (exit code {self.process.returncode})"
        return f"the process {first[1]!r} stopped (exit code {first[2]})"

    def show_log(self) -> str:
        """Show the last lines of the log as progress, and return where the rest is."""
        with self.log.open(errors="replace") as lines:
            for line in deque(lines, maxlen=_TAIL_LINES):
                say(f"  {line.rstrip()}")
        return f"see the last lines of its log above, or {self.log}"


def find_procfile() -> Path:
    """Return the path of the Procfile. Raises `CannotStart` where there is none, as beside an installed wheel."""
    procfile = project_root() / "Procfile"
    if not procfile.is_file():
        raise CannotStart("there is no Procfile here: run the demo in the project's folder")
    return procfile


@asynccontextmanager
async def honcho(environment: Mapping[str, str], folder: Path, log: Path, record: RecordFile) -> AsyncIterator[Honcho]:
    """Run `honcho start` in a session of its own; at the end let it drain, and kill what is left of it.

    Its processes are written down in `record` as they come.
    It reads no `.env`: honcho would let the file win over the environment. Raises `CannotStart` without a Procfile.
    """
    procfile = find_procfile()
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        log_begin = output.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "honcho", "--no-colour", "-e", os.devnull, "-f", str(procfile), "start"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment, "PATH": path, "PYTHONUNBUFFERED": "1"},
            cwd=folder,
            start_new_session=True,
        )
    descendants = _Descendants(process.pid, record)
    watching = asyncio.create_task(descendants.watch(), name="descendants")
    try:
        yield Honcho(process, log, log_begin)
    finally:
        watching.cancel()
        await _stop(process, descendants)


async def _stop(process: asyncio.subprocess.Process, descendants: "_Descendants") -> None:
    descendants.look()
    told = descendants.seen[:1] if process.returncode is None else []
    if told:
        say("Stopping the engine and the HTTP server")
    await stop_processes(descendants.seen, told, say)
    await process.wait()


class _Descendants:
    """All processes that honcho has brought forth: those whose parents are gone can still be found and stopped."""

    def __init__(self, pid: int, record: RecordFile) -> None:
        self.pid = pid
        self.seen: list[psutil.Process] = []
        self._record = record
        self.look()

    def look(self) -> None:
        """Take note of the processes that are there now."""
        new = [process for process in family(self.pid) if process not in self.seen]
        if new:
            self.seen += new
            self._record.write(self.seen)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            await asyncio.sleep(1)
