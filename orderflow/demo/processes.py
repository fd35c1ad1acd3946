"""Runs the demo's programs: `orderflow` commands, and honcho with engine and HTTP server."""

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

from orderflow.demo.leftovers import RecordFile, stop_processes
from orderflow.demo.signals import say
from orderflow.exits import CannotStart, Failed
from orderflow.services.process import process_tree
from orderflow.start.project import project_root

_TAIL_LINES = 15
_STOPPED = re.compile(r"(\w+)\.\d+ stopped \(rc=(-?\d+)\)")


async def run_orderflow(*arguments: str, environment: Mapping[str, str], folder: Path) -> str:
    """Run `orderflow` with `arguments` and return its standard output; its standard error is passed on.

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
    """honcho with the processes of the Procfile. Their output is appended to `log`; this run begins at `log_begin`."""

    process: asyncio.subprocess.Process
    log: Path
    log_begin: int

    async def watch(self) -> None:
        """Wait until honcho ends, which it does when one of its processes ends. Always raises `Failed`."""
        await self.process.wait()
        raise Failed(f"{self._stop_reason()}: {self.show_log()}")

    def _stop_reason(self) -> str:
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
    """Return the path of the Procfile. Raises `CannotStart` if it is missing, as in an installed wheel."""
    procfile = project_root() / "Procfile"
    if not procfile.is_file():
        raise CannotStart("there is no Procfile here: run the demo in the project's folder")
    return procfile


@asynccontextmanager
async def honcho(environment: Mapping[str, str], folder: Path, log: Path, record: RecordFile) -> AsyncIterator[Honcho]:
    """Run `honcho start` in a new session; at the end let it drain, then kill the processes that still run.

    `record` keeps its processes. honcho reads no `.env` here, because the file would override the environment. Raises
    `CannotStart` without a Procfile.
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
    to_signal = descendants.seen[:1] if process.returncode is None else []
    if to_signal:
        say("Stopping the engine and the HTTP server")
    await stop_processes(descendants.seen, to_signal, say)
    await process.wait()


class _Descendants:
    """All processes that honcho has started, so that those whose parents have ended can still be stopped."""

    def __init__(self, pid: int, record: RecordFile) -> None:
        self.pid = pid
        self.seen: list[psutil.Process] = []
        self._record = record
        self.look()

    def look(self) -> None:
        """Record new processes."""
        new = [process for process in process_tree(self.pid) if process not in self.seen]
        if new:
            self.seen += new
            self._record.write(self.seen)

    async def watch(self) -> None:
        """Look for new processes once a second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(1)
