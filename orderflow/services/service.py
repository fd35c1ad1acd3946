"""What every embedded service has in common: prepare, start, answer, stop."""

import asyncio
import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import ClassVar

import attrs

from orderflow.exits import CannotStart, Failed
from orderflow.services.ports import LOOPBACK, held, listens
from orderflow.services.process import DetachedProcess, bare_environment

Say = Callable[[str], None]
_POLL_S = 0.05
_PORT_POLL_S = 0.5
SIGN_OF_LIFE_S = 10.0


def silent(_line: str) -> None:
    """Say nothing: progress lines of a service that nobody watches."""


@attrs.frozen
class ServiceStatus:
    """One service as `orderflow services status` shows it. `address` is where it listens, or would listen."""

    service: str
    address: str
    pid: int | None
    running: bool


class Service(ABC):
    """One server process with its data under `directory`. Started, stopped and watched through its pid file."""

    title: ClassVar[str]
    """The product's name."""
    variable: ClassVar[str]
    """The environment variable that sets the port."""
    stop_signal: ClassVar[signal.Signals]
    """Asks for a clean stop."""
    environment: ClassVar[Mapping[str, str]] = {}
    """What its programs are told beside `bare_environment`."""

    def __init__(self, directory: Path, port: int, say: Say = silent) -> None:
        self.directory = directory
        self.port = port
        self.say = say
        self.name = type(self).__name__.lower()
        root = directory.parent
        self.process = DetachedProcess(self.title, root / "run" / f"{self.name}.pid", root / "log" / f"{self.name}.log")

    @abstractmethod
    async def prepare(self) -> None:
        """Create the data, if there is none, and write the configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the server's command line."""

    @abstractmethod
    async def answers(self) -> bool:
        """Return whether the server answers its own protocol. Raises `CannotStart` when it never will."""

    async def complete(self) -> None:  # noqa: B027 (most servers have nothing left to do)
        """Do what only a running server can do, such as creating the database. Doing it twice changes nothing."""

    def account(self) -> tuple[int | None, int | None]:
        """Return the numeric user and group to run as; None and None for one's own."""
        return None, None

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        return self.process.pid

    @property
    def address(self) -> str:
        """Where it listens, or would listen, as `host:port`."""
        record = self.process.recorded()
        return f"{LOOPBACK}:{record.port if record else self.port}"

    def status(self) -> ServiceStatus:
        """Return what is known without asking the server."""
        pid = self.pid
        return ServiceStatus(self.name, self.address, pid, pid is not None)

    async def check_port(self, deadline: float) -> None:
        """Raise `CannotStart` when the port is held by somebody else, or when the server runs on another port.

        A port that is merely the local end of a client's connection is waited for, until `deadline` on the monotonic
        clock.
        """
        record = self.process.recorded()
        if record is not None and record.port != self.port:
            raise CannotStart(
                f"{self.title} already runs on port {record.port}, not {self.port}: "
                f"run 'orderflow services down' first, or set {self.variable} to that port"
            )
        if record is not None or not held(self.port):
            return
        if not listens(self.port):
            self.say(f"Port {self.port} for {self.title} is in use by a closing connection: waiting")
        while held(self.port):
            if listens(self.port) or time.monotonic() > deadline:
                raise CannotStart(
                    f"port {self.port} for {self.title} is held by another process: "
                    f"stop that process, or set {self.variable} to a free port"
                )
            await asyncio.sleep(_PORT_POLL_S)

    async def start(self, timeout_s: float = 60) -> bool:
        """Start the server unless it runs, and wait until it answers.

        Returns whether it had to be started. Raises `CannotStart` for a held port or for data of another owner, and
        `Failed` when the server dies or does not answer within `timeout_s`. What failed to start is not left running.
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
        self.say(f"Starting {self.title} on {LOOPBACK}:{self.port}")
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
                raise Failed(self._last_words("stopped while it started"))
            if time.monotonic() > deadline:
                raise Failed(self._last_words("runs but does not answer in time"))
            await asyncio.sleep(_POLL_S)

    def _last_words(self, what: str) -> str:
        for line in self.process.log_tail():
            self.say(f"  {line}")
        return f"{self.title} {what}: see the last lines of {self.process.log_file}"

    async def stop(self, timeout_s: float = 20) -> bool:
        """Stop cleanly; kill after `timeout_s`. Returns whether it ran. Stopping what does not run is no error."""
        return await self.process.stop(self.stop_signal, timeout_s)

    async def kill(self) -> None:
        """End it at once with SIGKILL, as a crash would."""
        await self.process.kill()

    def freeze(self) -> None:
        """Stop the process and its children in the middle of whatever they do (SIGSTOP)."""
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
) -> str:
    """Run a helper program to its end and return its standard output. `say` is told every 10 s that it still runs.

    Raises `Failed` with the last line of its error output when it fails, is missing or exceeds `timeout_s`.
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
        )
    except OSError as error:
        raise Failed(f"{what} failed: {command[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(timeout_s), _signs_of_life(what, say):
            output, errors = await tool.communicate()
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


@asynccontextmanager
async def _signs_of_life(what: str, say: Say) -> AsyncIterator[None]:
    async def tell() -> None:
        for periods in count(1):
            await asyncio.sleep(SIGN_OF_LIFE_S)
            say(f"Still waiting for {what}, {periods * SIGN_OF_LIFE_S:g} s so far")

    telling = asyncio.create_task(tell(), name=f"waiting for {what}")
    try:
        yield
    finally:
        telling.cancel()


def fresh(directory: Path) -> Path:
    """Empty `directory` if it is there and return it: the place to build data in before it is renamed."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory
