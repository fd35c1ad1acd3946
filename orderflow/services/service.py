"""The base class of the embedded services: prepare, start, check, stop."""

import asyncio
import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from orderflow.exits import CannotStart, Failed
from orderflow.progress import told_if_slow
from orderflow.services.ports import LOOPBACK, has_listener, port_in_use
from orderflow.services.process import DetachedProcess, bare_environment

Say = Callable[[str], None]
Detail = Callable[[], Awaitable[str | None]]
_POLL_S = 0.05
_LONGEST_LINE = 1 << 20
_PORT_POLL_S = 0.5


def silent(_line: str) -> None:
    """Ignore progress lines."""


@attrs.frozen
class ServiceStatus:
    """One service as `orderflow services status` shows it. `address` is where it listens, or will listen."""

    service: str
    address: str
    pid: int | None
    running: bool


class Service(ABC):
    """One server process with its data under `directory`. It is controlled by its pid file."""

    title: ClassVar[str]
    """The product's name."""
    variable: ClassVar[str]
    """The environment variable that sets the port."""
    stop_signal: ClassVar[signal.Signals]
    """The signal that requests a clean stop."""
    environment: ClassVar[Mapping[str, str]] = {}
    """Environment variables of its programs, in addition to `bare_environment`."""
    host = LOOPBACK
    """The address where it listens."""

    def __init__(self, directory: Path, port: int, say: Say = silent) -> None:
        self.directory = directory
        self.port = port
        self.say = say
        self.name = type(self).__name__.lower()
        root = directory.parent
        self.process = DetachedProcess(self.title, root / "run" / f"{self.name}.pid", root / "log" / f"{self.name}.log")

    @abstractmethod
    async def prepare(self) -> None:
        """Create the data if it is missing, and write the configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the server's command line."""

    @abstractmethod
    async def answers(self) -> bool:
        """Return whether the server answers a request. Raises `CannotStart` when waiting cannot help."""

    async def complete(self) -> None:  # noqa: B027 (most servers need nothing more)
        """Finish the set-up of the running server, such as creating the database. Calling it twice changes nothing."""

    def account(self) -> tuple[int | None, int | None]:
        """Return the numeric user and group ids to run as; None and None for the current user."""
        return None, None

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        return self.process.pid

    @property
    def address(self) -> str:
        """The address where it listens, or will listen, as `host:port`."""
        record = self.process.running_record()
        return f"{self.host}:{record.port if record else self.port}"

    def status(self) -> ServiceStatus:
        """Return the status without asking the server."""
        pid = self.pid
        return ServiceStatus(self.name, self.address, pid, pid is not None)

    async def check_port(self, deadline: float) -> None:
        """Raise `CannotStart` when another process uses the port, or the server already runs on another port.

        If the port is only the local end of a client's connection, wait until it is free, at most until `deadline` on
        the monotonic clock.
        """
        record = self.process.running_record()
        if record is not None and record.port != self.port:
            raise CannotStart(
                f"{self.title} already runs on port {record.port}, not {self.port}: "
                f"run 'orderflow services down' first, or set {self.variable} to that port"
            )
        if record is not None or not port_in_use(self.port):
            return
        if not has_listener(self.port):
            self.say(f"Port {self.port} for {self.title} is in use by a closing connection: waiting")
        while port_in_use(self.port):
            if has_listener(self.port) or time.monotonic() > deadline:
                raise CannotStart(
                    f"port {self.port} for {self.title} is used by another process: "
                    f"stop that process, or set {self.variable} to a free port"
                )
            await asyncio.sleep(_PORT_POLL_S)

    async def start(self, timeout_s: float = 60) -> bool:
        """Start the server if it does not run, and wait until it answers.

        Returns whether it was started. Raises `CannotStart` for a port in use or for data of another owner, and
        `Failed` when the server dies or does not answer within `timeout_s`. After a failed start it does not run.
        """
        deadline = time.monotonic() + timeout_s
        await self.check_port(deadline)
        if self.pid is not None:
            await self._wait_for_answer(deadline)
            await self.complete()
            return False
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.prepare()
        user, group = self.account()
        self.say(f"Starting {self.title} on {self.host}:{self.port}")
        environment = bare_environment(**self.environment)
        self.process.spawn(self.command(), port=self.port, environment=environment, user=user, group=group)
        try:
            await self._wait_for_answer(deadline)
            await self.complete()
        except BaseException:
            await asyncio.shield(self.process.kill())
            raise
        return True

    async def _wait_for_answer(self, deadline: float) -> None:
        while not await self.answers():
            if self.pid is None:
                raise Failed(self._failure_message("stopped while it started"))
            if time.monotonic() > deadline:
                raise Failed(self._failure_message("runs but does not answer in time"))
            await asyncio.sleep(_POLL_S)

    def _failure_message(self, what: str) -> str:
        for line in self.process.log_tail():
            self.say(f"  {line}")
        return f"{self.title} {what}: see the last lines of {self.process.log_file}"

    async def stop(self, timeout_s: float = 20) -> bool:
        """Stop cleanly; kill after `timeout_s`. Returns whether it ran; a stopped service is no error."""
        return await self.process.stop(self.stop_signal, timeout_s)

    async def kill(self) -> None:
        """Kill it at once with SIGKILL, like a crash."""
        await self.process.kill()

    def freeze(self) -> None:
        """Suspend the process and its children at once (SIGSTOP)."""
        self.process.signal(signal.SIGSTOP, children=True)

    def thaw(self) -> None:
        """Continue after `freeze` (SIGCONT)."""
        self.process.signal(signal.SIGCONT, children=True)


async def run_tool(
    what: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
    timeout_s: float = 120,
    say: Say = silent,
    each_line: Say = silent,
    detail: Detail | None = None,
) -> str:
    """Run a program and return its standard output. While it runs long, `say` gets progress lines, with `detail`.

    `each_line` gets the lines of its output as they are written. `what` names the work in messages. Raises `Failed`
    with the last line of its error output when it fails, is missing or exceeds `timeout_s`.
    """
    try:
        tool = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(bare_environment() if environment is None else environment),
            cwd="/",
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            limit=_LONGEST_LINE,
        )
    except OSError as error:
        raise Failed(f"{what} failed: {command[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(timeout_s), told_if_slow(f"waiting for {what}", detail, tell=say):
            output, errors = await _output(tool, each_line)
    except BaseException as error:
        os.killpg(tool.pid, signal.SIGKILL)
        await tool.wait()
        if isinstance(error, TimeoutError):
            raise Failed(f"{what} took longer than {timeout_s:g} s and was stopped") from None
        raise
    if tool.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no output"]
        raise Failed(f"{what} failed (exit code {tool.returncode}): {lines[-1].strip()}")
    return output.decode(errors="replace")


async def _output(tool: asyncio.subprocess.Process, each_line: Say) -> tuple[bytes, bytes]:
    """Return what the program writes on standard output and on standard error, and pass each line of the first on."""

    async def lines() -> bytes:
        assert tool.stdout is not None
        output = []
        async for line in tool.stdout:
            output.append(line)
            each_line(line.decode(errors="replace").rstrip())
        return b"".join(output)

    assert tool.stderr is not None
    output, errors, _ = await asyncio.gather(lines(), tool.stderr.read(), tool.wait())
    return output, errors


def fresh(directory: Path) -> Path:
    """Delete `directory` if it exists and return it: data is created there, and renamed when it is complete."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory
