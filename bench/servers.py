"""HTTP servers that a run measures: they listen on a free port, on the stores of an environment."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from bench.builds import Build
from bench.plain_handler import LISTENING
from bench.programs import Program, program
from bench.testbed import Testbed, redis_of
from orderflow.services import free_ports

_LISTEN_TIMEOUT_S = 60.0
_POLL_S = 0.1


@asynccontextmanager
async def lookup_server(
    testbed: Testbed, build: Build, environment: Mapping[str, str], processes: int = 1
) -> AsyncIterator[tuple[Program, int]]:
    """Run `orderflow serve` of a build, and provide it with its port. It is stopped at the end of the block.

    It is ready when all its processes listen. Raises `ProgramFailed`.
    """
    command = build.orderflow("serve", "--processes", str(processes))
    async with listening(testbed, f"server {build.name}", command, environment, processes, build.root) as (
        server,
        port,
    ):
        yield server, port
        await server.stop()


@asynccontextmanager
async def listening(
    testbed: Testbed,
    title: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    processes: int,
    root: Path | None = None,
) -> AsyncIterator[tuple[Program, int]]:
    """Run a server that listens on `HTTP_ADDR` and says so in its output, once for each process."""
    (port,) = free_ports(1)
    listens = {**environment, "HTTP_ADDR": f"127.0.0.1:{port}"}
    async with program(title, command, listens, testbed.folder, root=root) as server:
        deadline = monotonic() + _LISTEN_TIMEOUT_S
        while server.log.read_text(errors="replace").count(LISTENING) < processes:
            server.check()
            if monotonic() > deadline:
                raise server.failure("does not listen")
            await asyncio.sleep(_POLL_S)
        yield server, port


async def empty_cache(environment: Mapping[str, str]) -> None:
    """Delete all keys in the Redis database of the environment."""
    async with redis_of(environment) as redis:
        await redis.flushdb()
