"""Children that die, get stuck or do not obey, at any time: the supervisor keeps its promises. Time is virtual."""

import asyncio
import os
from types import SimpleNamespace
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from engine.processes.restart import CANNOT_START, RestartPolicy
from engine.processes.supervisor import CHECK_S, Child, ChildSpec, Supervisor
from tests.support.memory_processes import MemoryProcess, MemoryProcesses
from tests.support.state_machines import short_and_long
from tests.support.virtual_time import VirtualLoop

CHILDREN = ("child-0", "child-1", "child-2")
NAMES = st.sampled_from(CHILDREN)
CODES = st.sampled_from([1, 1, 0, 2, -9, -11, 3])
SECONDS = st.sampled_from([0, 0.1, 1, 5, 20])
HEARTBEAT_TIMEOUT_S = 3
SHUTDOWN_TIMEOUT_S = 10
INITIAL_S, FACTOR = 0.2, 2
SLACK_S = 0.001


class SupervisorMachine(RuleBasedStateMachine):
    """A supervisor, its children, and a model of its own of when each may be started again."""

    @initialize(restart_max=st.integers(0, 4), window_s=st.sampled_from([5, 20]), boot_s=st.sampled_from([0, 1, 5]))
    def begin(self, restart_max: int, window_s: int, boot_s: float) -> None:
        self.loop = VirtualLoop()
        self.restart_max, self.window_s = restart_max, window_s
        self.running: dict[str, MemoryProcess] = {}
        self.due: dict[str, tuple[float, float]] = dict.fromkeys(CHILDREN, (0.0, 0.0))
        self.deaths: list[float] = []
        self.exit_code: int | None = None
        self.wrong: list[str] = []
        self.decided_s = 0.0
        self.files = len(os.listdir("/proc/self/fd"))
        self.processes = MemoryProcesses(self.started, self.refused, self.killed, self.ended, boot_s)
        self.patches = [
            mock.patch.object(asyncio, "create_subprocess_exec", self.processes.start),
            mock.patch("engine.processes.supervisor.os.kill", self.processes.signal),
            mock.patch("engine.processes.supervisor.time", SimpleNamespace(monotonic=self.loop.time)),
            capture_logs(),
        ]
        for patch in self.patches:
            patch.__enter__()
        specs = [ChildSpec(name, [name]) for name in CHILDREN]
        policy = RestartPolicy(restart_max, window_s)
        self.reported_alive: dict[str, bool] = {}
        self.gone: list[tuple[str, int]] = []
        self.missed: list[tuple[str, int]] = []
        self.supervisor = Supervisor(
            specs, policy, SHUTDOWN_TIMEOUT_S, self.report, HEARTBEAT_TIMEOUT_S, child_gone=self.child_gone
        )
        self.run = self.loop.create_task(self.supervisor.run())
        self.loop.pass_time()

    async def report(self, children: list[Child]) -> None:
        self.reported_alive = {child.spec.name: child.pid != 0 for child in children}

    def child_gone(self, child: Child) -> None:
        assert child.pid == 0, "its process has not ended"
        self.gone.append((child.spec.name, child.beat.details["said"] if child.beat is not None else 0))

    def started(self, process: MemoryProcess) -> None:
        earliest, latest = self.due.pop(process.name)
        if not earliest - SLACK_S <= self.loop.time() <= latest + SLACK_S:
            self.wrong.append(f"{process.name} was started at {self.loop.time()}, not from {earliest} to {latest}")
        self.running[process.name] = process

    def killed(self, process: MemoryProcess) -> None:
        silent_s = self.loop.time() - process.last_beat_s
        if self.exit_code is None and process.said_overdue_s is None and silent_s <= HEARTBEAT_TIMEOUT_S:
            self.wrong.append(f"{process.name} was killed although it said that it was well {silent_s} s ago")

    def ended(self, process: MemoryProcess) -> None:
        del self.running[process.name]
        self.missed.append((process.name, process.said))
        assert process.returncode is not None
        self.died(process.name, process.returncode)

    def refused(self, name: str) -> None:
        del self.due[name]
        self.died(name, 1)

    def decide(self, exit_code: int) -> None:
        self.exit_code, self.decided_s = exit_code, self.loop.time()

    def died(self, name: str, code: int) -> None:
        """Say what must follow a death: a restart within a certain time, or the end."""
        now_s = self.loop.time()
        if self.exit_code is not None:
            return
        if code == CANNOT_START:
            self.decide(CANNOT_START)
            return
        self.deaths.append(now_s)
        lately = sum(death_s > now_s - self.window_s for death_s in self.deaths)
        if lately > self.restart_max:
            self.decide(1)
            return
        longest_s = max(1.0, self.window_s / 2 / max(1, self.restart_max))
        delay_s = min(INITIAL_S * FACTOR ** (lately - 1), longest_s, 10)
        self.due[name] = (now_s + delay_s / 2, now_s + delay_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), code=CODES, last_words=st.booleans())
    def die(self, data: st.DataObject, code: int, last_words: bool) -> None:
        """Die, some with a last beat that nobody has read when they are gone."""
        name = data.draw(st.sampled_from(sorted(self.running)))
        if last_words:
            self.running[name].beat()
        self.running[name].end(code)
        self.loop.pass_time()
        assert not self.reported_alive[name], "a death is reported at once"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), overdue=st.sampled_from([None, "write"]))
    def get_stuck(self, data: st.DataObject, overdue: str | None) -> None:
        """Fall silent, or say that a step is overdue."""
        process = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        process.overdue, process.silent = overdue, overdue is None

    @precondition(lambda self: self.running)
    @rule(data=st.data(), obeys_after_s=st.sampled_from([0, 5, 15, None]), last_code=st.sampled_from([0, 0, 1]))
    def plan_the_end(self, data: st.DataObject, obeys_after_s: float | None, last_code: int) -> None:
        """Be slow to obey a SIGTERM, or deaf to it, or end badly."""
        process = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        process.obeys_after_s, process.last_code = obeys_after_s, last_code

    @rule(name=NAMES)
    def run_out_of_processes(self, name: str) -> None:
        self.processes.refuse.add(name)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.loop.pass_time(seconds)

    @invariant()
    def only_what_may_be_started_or_killed_is(self) -> None:
        assert self.wrong == []

    @invariant()
    def who_died_is_started_again_in_time(self) -> None:
        if self.exit_code is None:
            assert all(self.loop.time() <= latest_s + SLACK_S for _, latest_s in self.due.values())
            assert self.running.keys() | self.due.keys() == set(CHILDREN)

    @invariant()
    def every_end_is_told_with_what_was_said_last(self) -> None:
        assert sorted(self.gone) == sorted(self.missed)

    @invariant()
    def who_is_stuck_is_killed_in_time(self) -> None:
        if self.exit_code is None:
            now_s = self.loop.time()
            for process in self.running.values():
                assert now_s - process.last_beat_s <= HEARTBEAT_TIMEOUT_S + CHECK_S + SLACK_S
                if process.said_overdue_s is not None:
                    assert now_s - process.said_overdue_s <= CHECK_S + SLACK_S

    @invariant()
    def it_ends_when_it_must_and_not_before(self) -> None:
        if self.exit_code is None:
            assert not self.run.done()
        elif self.loop.time() > self.decided_s + SHUTDOWN_TIMEOUT_S:
            assert self.run.result() == self.exit_code
            assert not self.running

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if not self.wrong:
                self.stop()
        finally:
            self.loop.close()
            for patch in reversed(self.patches):
                patch.__exit__(None, None, None)

    def stop(self) -> None:
        """Asked to stop it does so in time, says whether all ended well, and leaves nothing behind."""
        if self.exit_code is None:
            self.decide(int(any(not self.ends_well(process) for process in self.running.values())))
            self.supervisor.request_stop()
        self.loop.pass_time(SHUTDOWN_TIMEOUT_S + SLACK_S)
        assert self.run.result() == self.exit_code
        assert not self.running
        self.loop.pass_time()
        assert len(os.listdir("/proc/self/fd")) == self.files, "every pipe is closed"

    def ends_well(self, process: MemoryProcess) -> bool:
        obeys = process.obeys_after_s is not None and process.obeys_after_s < SHUTDOWN_TIMEOUT_S
        return not process.has_beaten or (obeys and process.last_code == 0)


TestSupervisor, TestSupervisorThoroughly = short_and_long(SupervisorMachine, 200, 30, report_multiple_bugs=False)
