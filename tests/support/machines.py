"""Simulates several machines on this one: each has its own host name and process ids, as a container has.

They are created with `unshare`, as root or where users may create namespaces. They share the network of this machine,
and each server listens on its own loopback address; or each has the network of a host of its own.
"""

import os
import shutil
import signal
import subprocess
import sys
from typing import Any

import attrs
import psutil
import pytest

from orderflow.services import free_ports
from orderflow.services.process import process_tree, signal_all
from tests.support.programs import Programs, Running

_RENAMED = "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"
_GRACE_S = 30.0


def require_machines() -> None:
    """Skip the test if simulated machines cannot be created here."""
    if shutil.which("unshare") is None:
        pytest.skip("no machines of a test's own: the command unshare (util-linux) is missing")
    done = subprocess.run([*_within("tried"), "true"], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode != 0:
        pytest.skip(f"no machines of a test's own: this user may not make namespaces ({done.stderr.strip()})")


@attrs.frozen
class Machine:
    """A simulated machine: its host name, its address, and the programs started on it.

    `network` is a command that runs the command that follows it in the machine's own network.
    """

    name: str
    address: str
    orderflow: Programs
    network: tuple[str, ...] = ()
    _running: list[Running] = attrs.field(factory=list, init=False)

    async def start_engine(self, workers: int, **extra: str) -> Running:
        """Start an engine and wait until all its workers have joined the group."""
        engine = await self._start("engine", "--workers", str(workers), **extra)
        await engine.wait_for("worker_started", count=workers, timeout_s=40)
        return engine

    async def start_server(self) -> Running:
        """Start an HTTP server on this machine's address."""
        server = await self._start("serve", HTTP_ADDR=f"{self.address}:{free_ports(1)[0]}")
        assert self.address in (await server.wait_for("http_listening"))["url"]
        return server

    async def serve(self) -> str:
        """Start an HTTP server on this machine's address, and return its URL."""
        url: str = (await (await self.start_server()).wait_for("http_listening"))["url"]
        return url

    async def _start(self, *arguments: str, **extra: Any) -> Running:
        running = await self.orderflow.start(*arguments, within=(*self.network, *_within(self.name)), **extra)
        self._running.append(running)
        return running

    async def stop(self, running: Running) -> int:
        """Stop a program of this machine with SIGTERM, and return its exit code."""
        signal_all(process_tree(running.pid)[1:2], signal.SIGTERM)
        return await running.ended(_GRACE_S)

    async def close(self) -> None:
        """Stop all running programs cleanly."""
        for running in self._running:
            if running.process.returncode is None:
                assert await self.stop(running) == 0, running.tail()

    def lose(self) -> list[psutil.Process]:
        """Kill all processes of this machine at once, and return them."""
        processes = [process for running in self._running for process in process_tree(running.pid)]
        signal_all(processes, signal.SIGSTOP)  # first freeze all, so that none can react to the death of another
        signal_all(processes, signal.SIGKILL)
        return processes


def _within(name: str) -> tuple[str, ...]:
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *user, "--uts", "--pid", "--fork", "--kill-child", sys.executable, "-c", _RENAMED, name)
