"""Runs programs: all output goes to one log file, and a failure shows the last lines of it."""

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs

from orderflow.exits import Failed

_LAST_LINES = 12
_END_TIMEOUT_S = 10


@attrs.frozen
class Ended:
    """How a program ended. `seen` is its standard output and its standard error, in this order."""

    code: int
    output: str
    seen: str


@attrs.frozen
class Commands:
    """Runs programs in `folder`, with exactly the variables of `environment`. Their output is appended to `log`."""

    folder: Path
    environment: Mapping[str, str]
    log: Path

    def with_variables(self, variables: Mapping[str, str]) -> "Commands":
        """Return the same with some variables added or replaced."""
        return attrs.evolve(self, environment={**self.environment, **variables})

    async def __call__(self, *command: str | Path, timeout_s: float = 60) -> str:
        """Return the standard output of a program. Raises `Failed` with its last lines unless it ends with 0."""
        ended = await self.ended(*command, timeout_s=timeout_s)
        if ended.code:
            lines = [line for line in ended.seen.splitlines() if line.strip()][-_LAST_LINES:]
            told = "".join(f"\n    {line[:300]}" for line in lines)
            raise Failed(f"{_shown(command)} ended with exit code {ended.code} (all of it is in {self.log}):{told}")
        return ended.output

    async def ended(self, *command: str | Path, timeout_s: float = 60) -> Ended:
        """Return how a program ended. Raises `Failed` when it cannot be run, or takes longer than `timeout_s`."""
        async with self._process(command) as process:
            try:
                async with asyncio.timeout(timeout_s):
                    output, errors = await process.communicate()
            except TimeoutError:
                raise Failed(f"{_shown(command)} took longer than {timeout_s:g} s and was stopped") from None
        ended = Ended(
            process.returncode or 0, output.decode(errors="replace"), (output + errors).decode(errors="replace")
        )
        with self.log.open("a") as log:
            log.write(f"$ {_shown(command)}\n{ended.seen}\n[exit code {ended.code}]\n\n")
        return ended

    @asynccontextmanager
    async def _process(self, command: Sequence[str | Path]) -> AsyncIterator[asyncio.subprocess.Process]:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{command[0]} cannot be run: {error.strerror}") from None
        try:
            yield process
        finally:
            if process.returncode is None:
                await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program and what it started in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), _END_TIMEOUT_S)
            return


def _shown(command: Sequence[str | Path]) -> str:
    words = [str(word) for word in command]
    return " ".join(word if "\n" in word else shlex.quote(word) for word in words)
