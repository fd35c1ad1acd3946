"""Runs the `orderflow` command for tests: until it ends, or in the background until a given line is logged."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import psutil

from orderflow.services.process import process_tree, signal_all, wait_until_gone

AS_INSTALLED = Path(__file__).with_name("as_installed")
"""A folder that hides packages of the development environment: programs then run as in a normal installation."""
RUN_MARK = "ORDERFLOW_TEST_RUN"
"""A variable in the environment of every process that a test starts. Its descendants inherit it."""
_LINE_LIMIT = 64 * 1024 * 1024
_KILL_WAIT_S = 5.0


def marked(mark: str) -> list[psutil.Process]:
    """Return the running processes that have `mark` in their environment, except this one."""
    found = []
    for process in psutil.process_iter():
        try:
            same = process.environ().get(RUN_MARK, "").startswith(mark)
            if same and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _events(text: str) -> list[dict[str, Any]]:
    events = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


@attrs.frozen
class Finished:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of its standard output."""
        return self.stdout.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log lines on standard error that are JSON objects."""
        return _events(self.stderr)


@attrs.define
class Running:
    """A program in the background. Its output is collected. `events` are its JSON log lines so far."""

    process: asyncio.subprocess.Process
    title: str
    events: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    stderr_lines: list[str] = attrs.field(factory=list, init=False)
    stdout_lines: list[str] = attrs.field(factory=list, init=False)
    _news: asyncio.Condition = attrs.field(factory=asyncio.Condition, init=False)
    _readers: list[asyncio.Task[None]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        for stream, lines in ((self.process.stdout, self.stdout_lines), (self.process.stderr, self.stderr_lines)):
            assert stream is not None
            self._readers.append(asyncio.create_task(self._read(stream, lines), name=f"read {self.title}"))

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for raw in stream:
            line = raw.decode(errors="replace").rstrip("\n")
            lines.append(line)
            if lines is self.stderr_lines:
                self.events += _events(line)
            async with self._news:
                self._news.notify_all()

    @property
    def pid(self) -> int:
        """The process id of the program itself (an engine's supervisor, not its workers)."""
        return self.process.pid

    @property
    def children(self) -> list[psutil.Process]:
        """Its running descendants."""
        return process_tree(self.pid)[1:]

    def seen(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines so far with this event name and these fields."""
        wanted = {"event": event, **fields}
        return [line for line in self.events if wanted.items() <= line.items()]

    async def wait_for(self, event: str, *, count: int = 1, timeout_s: float = 20, **fields: Any) -> dict[str, Any]:
        """Wait for the `count`-th log line with this event name and these fields, and return it.

        Fails the test if the program ends first, or after `timeout_s`.
        """
        wait = asyncio.ensure_future(self._until(lambda: len(self.seen(event, **fields)) >= count))
        ended = asyncio.gather(*self._readers)
        await asyncio.wait({wait, ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        wait.cancel()
        found = self.seen(event, **fields)
        if len(found) >= count:
            return found[count - 1]
        why = f"ended (exit code {self.process.returncode})" if ended.done() else f"had not after {timeout_s:g} s"
        raise AssertionError(
            f"{self.title} was to log {event!r} {fields or ''} and {why}; its last lines:\n{self.tail()}"
        )

    async def wait_for_line(self, text: str, timeout_s: float = 20) -> str:
        """Wait for a line of standard error that contains `text`, and return it. Fails after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: any(text in line for line in self.stderr_lines))
        except TimeoutError:
            raise AssertionError(f"{self.title} did not write {text!r}; its last lines:\n{self.tail()}") from None
        return next(line for line in self.stderr_lines if text in line)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(true)

    def send_signal(self, number: int, *, children: bool = False) -> None:
        """Send a signal to the program, and to its descendants if `children`."""
        processes = process_tree(self.pid)
        signal_all(processes if children else processes[:1], number)

    async def ended(self, timeout_s: float = 20) -> int:
        """Wait until the program ends, and return its exit code (negative: the signal). Fails after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
                await asyncio.gather(*self._readers)
        except TimeoutError:
            raise AssertionError(
                f"{self.title} did not end within {timeout_s:g} s; its last lines:\n{self.tail()}"
            ) from None
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        """Send a signal (default SIGTERM), wait until the program ends, and return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended(timeout_s)

    async def destroy(self) -> None:
        """Stop it and its descendants: cleanly if that takes only a few seconds, else by killing them."""
        processes = process_tree(self.pid) if self.process.returncode is None else []
        signal_all(processes, signal.SIGCONT)
        signal_all(processes[:1], signal.SIGTERM)
        if not await wait_until_gone(processes, _KILL_WAIT_S):
            signal_all(processes, signal.SIGKILL)
        await self.process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its standard error."""
        return "\n".join(self.stderr_lines[-lines:])


@attrs.define
class Programs:
    """Runs `orderflow …` with the environment of one test, in an empty folder so that no `.env` is read."""

    environment: Mapping[str, str]
    folder: Path
    mark: str
    python: str = sys.executable
    _running: list[Running] = attrs.field(factory=list, init=False)

    @property
    def running(self) -> list[Running]:
        """All programs that were started in the background, with those that have ended."""
        return list(self._running)

    async def _spawn(
        self,
        arguments: tuple[str, ...],
        extra: Mapping[str, str],
        stdin: int,
        module: str = "orderflow",
        within: tuple[str, ...] = (),
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *within,
            self.python,
            "-m",
            module,
            *arguments,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(AS_INSTALLED), **self.environment, **extra, RUN_MARK: self.mark},
            cwd=self.folder,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )

    async def run(self, *arguments: str, timeout_s: float = 30, stdin: bytes = b"", **extra: str) -> Finished:
        """Run `orderflow` with `arguments` until it ends. `extra` are environment variables.

        Fails after `timeout_s`.
        """
        process = await self._spawn(arguments, extra, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(timeout_s):
                stdout, stderr = await process.communicate(stdin)
        except TimeoutError:
            raise AssertionError(f"orderflow {' '.join(arguments)} did not end within {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                signal_all(process_tree(process.pid), signal.SIGKILL)
                await process.wait()
        assert process.returncode is not None
        return Finished(process.returncode, stdout.decode(), stderr.decode())

    async def start(
        self, *arguments: str, module: str = "orderflow", within: tuple[str, ...] = (), **extra: str
    ) -> Running:
        """Start `orderflow` with `arguments` in the background. It is stopped at the end of the test at the latest.

        `within` is a command that runs the command that follows it.
        """
        process = await self._spawn(arguments, extra, asyncio.subprocess.DEVNULL, module, within)
        running = Running(process, " ".join([module, *arguments]))
        self._running.append(running)
        return running

    async def close(self) -> None:
        """Stop the running programs, show their logs, and fail the test if a process of them is still running."""
        for running in self._running:
            await running.destroy()
            if running.stderr_lines:
                print(f"--- {running.title} (stderr, last lines)\n{running.tail()}", file=sys.stderr)
        strays = marked(self.mark)
        if strays and not await wait_until_gone(strays, _KILL_WAIT_S):
            left = [f"{process.pid}: {' '.join(process.cmdline())}" for process in strays if process.is_running()]
            signal_all(strays, signal.SIGKILL)
            raise AssertionError(f"processes were left running: {'; '.join(left)}")
