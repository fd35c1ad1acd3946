"""`make smoke`, which is `make demo` without a person: it works, and it leaves nothing behind however it ends."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import msgspec
import psutil
import pytest

from orderflow.demo.leftovers import ProcessIdentity, RunRecord, stop_leftover_processes
from orderflow.services import ServiceSet
from orderflow.services.process import fingerprint
from orderflow.start.project import services_directory
from orderflow.start.settings import parse_settings
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running

_MODULE = "orderflow.demo"
_START_TIMEOUT_S = 120
_HONCHO_ENGINE_WORKER_SERVER = 4


async def _start(orderflow: Programs) -> Running:
    return await orderflow.start("--smoke", module=_MODULE)


def _of_smoke() -> list[psutil.Process]:
    """Return the processes that work on a folder of a smoke test."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = any(str(services_directory() / "smoke-") in word for word in process.cmdline())
        except psutil.Error:
            continue
        if mine and fingerprint(process.pid):
            found.append(process)
    return found


def _folders() -> list[Path]:
    return list(services_directory().glob("smoke-*"))


async def test_smoke_passes_and_leaves_nothing(orderflow: Programs) -> None:
    """50 orders are published, each is answered as it was published, and everything is stopped."""
    folders, processes = set(_folders()), set(_of_smoke())
    smoke = await _start(orderflow)
    assert await smoke.ended(timeout_s=150) == 0, smoke.tail()
    assert "Smoke test passed: 50 orders are answered as published" in smoke.stderr_lines[-1]
    assert len([line for line in smoke.stdout_lines if not line.startswith("---")]) == 50
    assert set(_folders()) <= folders
    assert set(_of_smoke()) <= processes


@pytest.mark.long
async def test_a_second_ctrl_c_does_not_cut_the_stopping_short(orderflow: Programs) -> None:
    """Interrupted twice in the middle, it stops all it started, and an interrupted check has not passed."""
    folders, processes = set(_folders()), set(_of_smoke())
    smoke = await _start(orderflow)
    await smoke.wait_for_line("Starting the engine", _START_TIMEOUT_S)
    smoke.send_signal(signal.SIGINT)
    await smoke.wait_for_line("Stopping", _START_TIMEOUT_S)
    smoke.send_signal(signal.SIGINT)
    assert await smoke.ended(timeout_s=60) == 130, smoke.tail()
    assert set(_folders()) <= folders
    assert set(_of_smoke()) <= processes


@pytest.mark.long
async def test_an_engine_that_dies_is_named(orderflow: Programs) -> None:
    """When a process of the Procfile ends, the message says which, shows its last lines, and the exit code is 1."""
    folders, processes = set(_folders()), set(_of_smoke())
    smoke = await _start(orderflow)
    await smoke.wait_for_line("Starting the engine", _START_TIMEOUT_S)
    engine: list[psutil.Process] = []
    while not engine:
        engine = [child for child in smoke.children if child.cmdline()[-1:] == ["engine"]]
        assert smoke.process.returncode is None, smoke.tail()
    engine[0].kill()
    assert await smoke.ended(timeout_s=60) == 1, smoke.tail()
    assert "the process 'engine' stopped" in smoke.stderr_lines[-1]
    assert set(_folders()) <= folders
    assert set(_of_smoke()) <= processes


@pytest.mark.long
async def test_what_a_killed_demo_left_is_ended(orderflow: Programs) -> None:
    """Engine, workers and HTTP server, by the record of their pids; the services that it had started are named."""
    folders = set(_folders())
    smoke = await _start(orderflow)
    await smoke.wait_for_line("Starting the engine", _START_TIMEOUT_S)
    [folder] = set(_folders()) - folders
    path = folder / "run" / f"demo-{smoke.pid}.json"

    async def processes() -> list[ProcessIdentity]:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord).processes

    left = await eventually(processes, lambda marks: len(marks) >= _HONCHO_ENGINE_WORKER_SERVER)
    assert await stop_leftover_processes(folder, print) == set()  # it lives
    smoke.process.kill()
    await smoke.process.wait()
    said: list[str] = []
    services = ServiceSet(folder, parse_settings({}))
    try:
        assert await stop_leftover_processes(folder, said.append) == {"postgresql", "valkey", "kafka"}
        assert [mark for mark in left if mark.alive] == []
        assert all(service.pid for service in services.services)
        assert f"A demo was killed (pid {smoke.pid})" in said[0]
        assert not path.exists()
        assert await stop_leftover_processes(folder, said.append) == set()
    finally:
        await services.down()
        shutil.rmtree(folder)


async def test_a_stranger_with_the_pid_of_a_lost_demos_process_is_not_ended(tmp_path: Path) -> None:
    """After a restart of the machine the pid may be anybody's; with its start the same process is ended."""
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    path = tmp_path / "run" / "demo-1.json"
    path.parent.mkdir()
    killed = ProcessIdentity(os.getpid(), "another boot 1")
    try:
        path.write_bytes(msgspec.json.encode(RunRecord(killed, [ProcessIdentity(stranger.pid, "another boot 1")], [])))
        await stop_leftover_processes(tmp_path, print)
        assert not path.exists()
        mark = fingerprint(stranger.pid)
        assert mark is not None
        path.write_bytes(msgspec.json.encode(RunRecord(killed, [ProcessIdentity(stranger.pid, mark)], [])))
        await stop_leftover_processes(tmp_path, print)
        assert await stranger.wait() == -signal.SIGTERM
    finally:
        if stranger.returncode is None:
            stranger.kill()
            await stranger.wait()
