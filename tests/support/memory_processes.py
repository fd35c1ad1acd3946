"""Fake child processes for tests of a supervisor in virtual time: a test decides when they send heartbeats and die."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import attrs

from engine.processes.heartbeat import BEAT_S, Beat, encode_beat


@attrs.define(eq=False)
class MemoryProcess:
    """A child process with asyncio's interface. It calls `killed` and `ended` when these happen to it.

    After `boot_s` seconds it sends heartbeats until it is `silent`. `obeys_after_s` seconds after a SIGTERM it ends
    with `last_code`. None means that it ignores SIGTERM.
    """

    pid: int
    name: str
    beats: int
    boot_s: float
    killed: Callable[["MemoryProcess"], None]
    ended: Callable[["MemoryProcess"], None]
    returncode: int | None = None
    silent: bool = False
    overdue: str | None = None
    obeys_after_s: float | None = 0.0
    last_code: int = 0
    last_beat_s: float = attrs.field(init=False)
    has_beaten: bool = False
    said_overdue_s: float | None = None
    said: int = 0
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _end: asyncio.Event = attrs.field(factory=asyncio.Event)
    _life: "asyncio.Task[None]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.last_beat_s = self._loop.time()
        self._life = asyncio.create_task(self._live())

    async def _live(self) -> None:
        await asyncio.sleep(self.boot_s)
        while True:
            if not self.silent:
                self.beat()
                if self.overdue is not None and self.said_overdue_s is None:
                    self.said_overdue_s = self.last_beat_s
            await asyncio.sleep(BEAT_S)

    def beat(self) -> None:
        """Send a heartbeat that contains the number of heartbeats sent so far."""
        self.said += 1
        os.write(self.beats, encode_beat(Beat("running", overdue=self.overdue, details={"said": self.said})))
        self.last_beat_s, self.has_beaten = self._loop.time(), True

    def end(self, code: int) -> None:
        """End the process. May be called twice."""
        if self.returncode is None:
            self.returncode = code
            self._life.cancel()
            os.close(self.beats)
            self._end.set()
            self.ended(self)

    def kill(self) -> None:
        """Kill the process, as SIGKILL does."""
        self.killed(self)
        self.end(-signal.SIGKILL)

    def terminate(self) -> None:
        """Request its end, as SIGTERM does."""
        if not self.has_beaten:
            self.end(-signal.SIGTERM)
        elif self.obeys_after_s is not None:
            asyncio.get_running_loop().call_later(self.obeys_after_s, self.end, self.last_code)

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        await self._end.wait()
        assert self.returncode is not None
        return self.returncode


@attrs.define
class MemoryProcesses:
    """Starts the fake processes. The next start of a name in `refuse` fails, and `refused` is called."""

    started: Callable[[MemoryProcess], None]
    refused: Callable[[str], None]
    killed: Callable[[MemoryProcess], None]
    ended: Callable[[MemoryProcess], None]
    boot_s: float = 0.0
    refuse: set[str] = attrs.field(factory=set)
    _pids: int = 5_000_000  # no real process has such a high id
    _running: dict[int, MemoryProcess] = attrs.field(factory=dict)

    async def start(self, name: str, *, pass_fds: tuple[int, int], **_: Any) -> MemoryProcess:
        """Start a process, as `asyncio.create_subprocess_exec` does."""
        if name in self.refuse:
            self.refuse.remove(name)
            self.refused(name)
            raise BlockingIOError
        self._pids += 1
        process = MemoryProcess(self._pids, name, os.dup(pass_fds[0]), self.boot_s, self.killed, self.ended)
        self._running[process.pid] = process
        self.started(process)
        return process

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a process, as `os.kill` does."""
        process = self._running[pid]
        if process.returncode is not None:
            raise ProcessLookupError(pid)
        if number == signal.SIGKILL:
            process.kill()
        else:
            process.terminate()
