"""The Docker engine: the one that answers, else one that is started here and ended at the end."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orderflow.exits import CannotStart, Failed
from orderflow.progress import say
from orderflow.services.process import process_tree, signal_all, wait_until_gone
from tools.containers.commands import Commands
from tools.containers.remains import end_remains

_ANSWER_TIMEOUT_S = 15
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 60
_POLL_S = 0.2
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""The kernel stops the engine, and so its containers, when this process is killed."""
NEEDED = (
    "no Docker engine answers; to start one here, run this as root with dockerd and docker installed "
    "(Debian: apt-get install docker.io debootstrap)"
)


@attrs.frozen
class Engine:
    """An engine that answers. `own` is one that was started here; `environment` leads the client to it."""

    version: str
    own: bool
    environment: dict[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"{self.version}, {'started for this run' if self.own else 'which ran already'}"


@asynccontextmanager
async def docker_engine(run: Commands, store: Path, state: Path) -> AsyncIterator[Engine]:
    """Provide an engine. One that is started here keeps its images in `store` for the next run.

    `state` is its folder while it runs; the path has to be short, because that of a socket has 107 bytes at most.
    Raises `CannotStart` when there is no engine and none can be started.
    """
    if version := await _version(run):
        # Told by its address: the client may be given other settings, which know no contexts.
        address = await run("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        yield Engine(version, own=False, environment={"DOCKER_HOST": address.strip()})
        return
    dockerd = shutil.which("dockerd")
    if os.geteuid() != 0 or dockerd is None or shutil.which("docker") is None:
        raise CannotStart(NEEDED)
    await _clear(state, store)  # a run that was killed may have left something
    address = f"unix://{state / 'docker.sock'}"
    client = run.with_variables({"DOCKER_HOST": address})
    try:
        async with _started(
            [*_ENDS_WITH_US, dockerd, *_options(state, store, address)], run.log.with_name("dockerd.log")
        ) as process:
            version = await _first_answer(client, process, run.log.with_name("dockerd.log"))
            yield Engine(version, own=True, environment={"DOCKER_HOST": address})
    finally:
        await asyncio.shield(_clear(state, store))


async def _clear(state: Path, store: Path) -> None:
    await end_remains(state, store)
    shutil.rmtree(state, ignore_errors=True)


def _options(state: Path, store: Path, address: str) -> list[str]:
    """Return the options of an engine that shares nothing with another one and leaves no trace in the network."""
    state.mkdir(mode=0o700)
    configuration = state / "daemon.json"
    configuration.write_text("{}")
    return [
        f"--config-file={configuration}",
        f"--host={address}",
        f"--data-root={store}",
        f"--exec-root={state / 'exec'}",
        f"--pidfile={state / 'dockerd.pid'}",
        # Ports of this machine are published by its proxy program alone: no rule of this machine's firewall changes.
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--log-level=warn",
    ]


@asynccontextmanager
async def _started(command: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        await asyncio.shield(_stop(process))


async def _stop(process: asyncio.subprocess.Process) -> None:
    processes = process_tree(process.pid) if process.returncode is None else []
    signal_all(processes[:1], signal.SIGTERM)
    if not await wait_until_gone(processes, _STOP_TIMEOUT_S):
        say("The Docker engine does not stop: killing it")
        signal_all(processes, signal.SIGKILL)
    await process.wait()


async def _first_answer(client: Commands, process: asyncio.subprocess.Process, log: Path) -> str:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while process.returncode is None:
                if version := await _version(client):
                    return version
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    raise _start_failure(log)


def _start_failure(log: Path) -> CannotStart:
    lines = log.read_text(errors="replace").splitlines()[-3:]
    return CannotStart(f"the Docker engine does not start here ({log}):" + "".join(f"\n    {line}" for line in lines))


async def _version(run: Commands) -> str | None:
    """Return the version of the engine that answers; None if none does."""
    if shutil.which("docker") is None:
        return None
    try:
        ended = await run.ended("docker", "version", "--format", "{{.Server.Version}}", timeout_s=_ANSWER_TIMEOUT_S)
    except Failed:
        return None
    return ended.output.strip() if ended.code == 0 else None
