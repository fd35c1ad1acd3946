"""The programs that a run starts. Their output goes to files, so no process has to read it during a measurement."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs
import psutil

from orderflow.services.process import process_tree, signal_all, wait_until_gone
from orderflow.start.project import project_root

_STOP_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 10.0
_NOTICED_WITHIN_S = 0.5
_LAST_LINES = 15


class ProgramFailed(Exception):
    """A program ended too early or did not end in time. The message contains the last lines of its output."""


@attrs.frozen
class Program:
    """A program in the background. Its output is in the file `log`. `started_at` is in UTC."""

    title: str
    process: asyncio.subprocess.Process
    log: Path
    started_at: datetime

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self.process.pid

    @property
    def process_tree(self) -> list[psutil.Process]:
        """The program's process and all its running descendants."""
        return process_tree(self.pid)

    def check(self) -> None:
        """Raise `ProgramFailed` if the program has ended."""
        if self.process.returncode is not None:
            raise self.failure(f"ended with exit code {self.process.returncode}")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """If the block fails because the program has ended meanwhile, raise `ProgramFailed` for the program instead."""
        try:
            yield
        except Exception:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), _NOTICED_WITHIN_S)
            self.check()
            raise

    def failure(self, what: str) -> ProgramFailed:
        """Return an error with the given text and the last lines of the program's output."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return ProgramFailed("\n    ".join([f"{self.title} {what}; its last lines:", *(line[:300] for line in lines)]))

    async def wait(self, timeout_s: float) -> None:
        """Wait until the program ends. Raises `ProgramFailed` if it fails, or takes longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.process.wait()
        except TimeoutError:
            raise self.failure(f"did not end within {timeout_s:g} s") from None
        if code != 0:
            raise self.failure(f"ended with exit code {code}")

    async def stop(self) -> None:
        """Stop the program and wait. Raises `ProgramFailed` unless it ends in time and with exit code 0."""
        self.check()
        self.process.send_signal(signal.SIGTERM)
        await self.wait(_STOP_TIMEOUT_S)


@asynccontextmanager
async def program(
    title: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, root: Path | None = None
) -> AsyncIterator[Program]:
    """Run a program in `folder` while the context is open, with `environment` added to this process's environment.

    It imports its modules from the checkout `root`, by default this one.
    """
    log = folder / f"{title.replace(' ', '-')}.log"
    started_at = datetime.now(UTC)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment, "PYTHONPATH": str(root or project_root())},
            cwd=folder,
            start_new_session=True,
        )
    started = Program(title, process, log, started_at)
    try:
        yield started
    finally:
        await _end(started)


async def _end(started: Program) -> None:
    processes = started.process_tree if started.process.returncode is None else []
    signal_all(processes[:1], signal.SIGTERM)
    if not await wait_until_gone(processes, _KILL_TIMEOUT_S):
        signal_all(processes, signal.SIGKILL)
    await started.process.wait()


def helper(name: str, *arguments: str) -> list[str]:
    """Return the command line of a module of this package."""
    return [sys.executable, "-m", f"bench.{name}", *arguments]
