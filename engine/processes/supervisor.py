"""The supervisor: starts child processes, receives their heartbeats, restarts dead ones by policy, and stops them.

It does not know what the children do. A child is a command line that sends heartbeats.
"""

import asyncio
import os
import random
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import attrs
import structlog

from engine.actors.cancelling import cancel
from engine.actors.identity import SUPERVISOR_VARIABLE, new_supervisor_id
from engine.processes.heartbeat import (
    HEARTBEAT_FD_VARIABLE,
    LIFELINE_FD_VARIABLE,
    Beat,
    BeatReader,
)
from engine.processes.restart import GiveUp, Restart, RestartPolicy
from engine.telemetry import events

HEARTBEAT_TIMEOUT_S = 15.0
CHECK_S = 0.5
REPORT_S = 1.0


@attrs.frozen
class ChildSpec:
    """How to start a child: its name and its command line."""

    name: str
    command: Sequence[str]


@attrs.define
class Child:
    """A child process and its last known state. Times are from `time.monotonic`, in seconds."""

    spec: ChildSpec
    process: Process | None = None
    lifeline: int | None = None
    beat: Beat | None = None
    last_heard_s: float = 0.0
    started_s: float = 0.0
    restarts: int = 0
    killed_for: str | None = None

    @property
    def pid(self) -> int:
        """The child's process id, or 0 while it is not running."""
        return self.process.pid if self.process is not None and self.process.returncode is None else 0

    def receive(self, beat: Beat) -> None:
        """Store a heartbeat of the child."""
        self.beat, self.last_heard_s = beat, time.monotonic()


Report = Callable[[list[Child]], Awaitable[None]]
ChildGone = Callable[[Child], None]


class Supervisor:
    """Runs children until a signal arrives or the policy gives up. `run` returns the exit code.

    `supervisor_id` is in the log lines and is passed to the children; by default it is random. `child_gone` is called
    each time the process of a child has ended, for any reason. `child.beat` is then its last heartbeat. The function
    must not block.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        policy: RestartPolicy,
        shutdown_timeout_s: float,
        report: Report | None = None,
        heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S,
        supervisor_id: str | None = None,
        child_gone: ChildGone | None = None,
    ) -> None:
        self._id = supervisor_id or new_supervisor_id()
        self.children = [Child(spec) for spec in specs]
        self._policy = policy
        self._shutdown_timeout_s = shutdown_timeout_s
        self._report = report
        self._child_gone = child_gone
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._stopping = asyncio.Event()
        self._died = asyncio.Event()
        self._exit_code = 0
        self._log = structlog.get_logger()

    def request_stop(self) -> None:
        """Start to stop: all children get SIGTERM at once, and have one common deadline."""
        self._stopping.set()

    async def run(self) -> int:
        """Run the children until the end. All children have ended when it returns, even after an error."""
        structlog.contextvars.bind_contextvars(supervisor=self._id)
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.request_stop)
        self._log.info(events.SUPERVISOR_STARTED, workers=len(self.children))
        keepers = [asyncio.create_task(self._keep(child), name=child.spec.name) for child in self.children]
        others = [
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._report_loop(), name="report"),
        ]
        try:
            await self._until_stop_or_failure([*keepers, *others])
            await self._stop_children()
            await asyncio.wait(keepers, timeout=CHECK_S)  # so that `child_gone` is called for killed children, too
        finally:
            for child in self.children:
                self._kill(child)
            await cancel(*keepers, *others)
            await self._report_once()
        self._log.info(events.SUPERVISOR_STOPPED, exit_code=self._exit_code)
        return self._exit_code

    async def _until_stop_or_failure(self, tasks: list["asyncio.Task[None]"]) -> None:
        """Wait for the stop request. If a task of the supervisor fails, it also stops, with exit code 1."""
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._exit_code = 1
                self._log.error(events.SUPERVISOR_FAILED, task=task.get_name(), error=type(error).__name__)
        self._stopping.set()
        stop.cancel()

    async def _keep(self, child: Child) -> None:
        """Start one child, and restart it as the policy decides, until the stop request."""
        while not self._stopping.is_set():
            try:
                exit_code = await self._run_once(child)
            except OSError as error:  # no process, memory or file descriptor: treated like the death of the child
                self._log.error(events.WORKER_FAILED, worker=child.spec.name, error=type(error).__name__)
                exit_code = 1
            else:
                if self._child_gone is not None:
                    self._child_gone(child)
            self._died.set()
            if self._stopping.is_set():
                return
            self._log.error(
                events.WORKER_DIED, worker=child.spec.name, exit_code=exit_code, killed_for=child.killed_for
            )
            decision = self._policy.child_died(exit_code, time.monotonic(), random.random())
            match decision:
                case GiveUp(code, reason):
                    self._exit_code = code
                    self._log.error(events.SUPERVISOR_GAVE_UP, reason=reason, exit_code=code)
                    self.request_stop()
                case Restart(delay_s):
                    child.restarts += 1
                    self._log.warning(events.WORKER_RESTARTING, worker=child.spec.name, delay_s=round(delay_s, 2))
                    await _wait(self._stopping, delay_s)

    async def _run_once(self, child: Child) -> int:
        beats_read, beats_write = os.pipe()
        life_read, life_write = os.pipe()
        try:
            child.killed_for, child.beat = None, None
            child.last_heard_s = child.started_s = time.monotonic()
            child.process = await asyncio.create_subprocess_exec(
                *child.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(beats_write, life_read),
                env={
                    **os.environ,
                    HEARTBEAT_FD_VARIABLE: str(beats_write),
                    LIFELINE_FD_VARIABLE: str(life_read),
                    SUPERVISOR_VARIABLE: self._id,
                },
                # Ctrl-C in a terminal signals the whole process group: only the supervisor must signal the children.
                start_new_session=True,
            )
        except BaseException:
            os.close(beats_read)
            os.close(life_write)
            raise
        finally:
            os.close(beats_write)
            os.close(life_read)
        child.lifeline = life_write
        if self._stopping.is_set():
            _send(child.process, signal.SIGTERM)
        beats = BeatReader(beats_read, child.receive)
        try:
            return await child.process.wait()
        finally:
            beats.close()
            os.close(life_write)
            child.lifeline = None

    async def _watch(self) -> None:
        """Kill children that send no heartbeats, or that report an overdue step."""
        checked_s = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = time.monotonic()
            frozen_s, checked_s = max(0.0, now_s - checked_s - CHECK_S), now_s
            for child in self.children:
                # A frozen supervisor (a paused machine) receives nothing: that time must not count against the child.
                child.last_heard_s = min(now_s, child.last_heard_s + frozen_s)
                reason = self._stuck_reason(child)
                if reason is not None and child.pid:
                    self._log.error(events.WORKER_STUCK, worker=child.spec.name, pid=child.pid, reason=reason)
                    child.killed_for = reason
                    self._kill(child)

    def _stuck_reason(self, child: Child) -> str | None:
        if self._stopping.is_set() or child.killed_for is not None:
            return None
        if time.monotonic() - child.last_heard_s > self._heartbeat_timeout_s:
            return f"no heartbeat for {self._heartbeat_timeout_s:g} s"
        if child.beat is not None and child.beat.overdue is not None:
            return f"step {child.beat.overdue} is overdue"
        return None

    async def _report_loop(self) -> None:
        """Report once a second, and every death at once: the first heartbeat of the new process would hide it."""
        while True:
            self._died.clear()
            await self._report_once()
            await _wait(self._died, REPORT_S)

    async def _report_once(self) -> None:
        if self._report is not None:
            await self._report(self.children)

    async def _stop_children(self) -> None:
        """Send SIGTERM to all children, wait for them until one deadline, and kill those that are left."""
        deadline = time.monotonic() + self._shutdown_timeout_s
        self._log.info(events.DRAIN_STARTED, timeout_s=self._shutdown_timeout_s)
        running = [(child, child.process) for child in self.children if child.process is not None and child.pid]
        for _, process in running:
            _send(process, signal.SIGTERM)
        waits = [asyncio.create_task(process.wait()) for _, process in running]
        if waits:
            _, late = await asyncio.wait(waits, timeout=max(0.0, deadline - time.monotonic()))
            if late:
                self._log.error(events.DRAIN_INCOMPLETE, workers=[c.spec.name for c in self.children if c.pid])
        for child in self.children:
            self._kill(child)
        for child, process in running:
            # A child that has not sent a heartbeat yet has no work to lose: it may end by the signal itself.
            clean = {0} if child.beat is not None else {0, -signal.SIGTERM}
            if await process.wait() not in clean:
                self._exit_code = self._exit_code or 1

    def _kill(self, child: Child) -> None:
        if child.pid and child.process is not None:
            _send(child.process, signal.SIGKILL)


def _send(process: Process, number: signal.Signals) -> None:
    # Not `process.send_signal`: subprocess first polls whether the process has ended. The poll takes the exit code away
    # from asyncio, which then reports a wrong one.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    # Not `wait_for`: before Python 3.12 it loses a cancellation that arrives at the same time as the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
