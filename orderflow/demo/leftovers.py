"""Records the processes that a demo has started, so that the next command can stop what a killed demo left running."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import msgspec
import psutil

from orderflow.exits import Failed
from orderflow.services import Service
from orderflow.services.process import fingerprint, process_tree, signal_all, wait_until_gone

_DRAIN_S = 20.0
_KILL_S = 10.0


@attrs.frozen
class ProcessIdentity:
    """One process. The fingerprint distinguishes it from a later process with the same pid."""

    pid: int
    fingerprint: str

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return fingerprint(self.pid) == self.fingerprint


@attrs.frozen
class RunRecord:
    """The demo's process, its descendants (honcho first), and the names of the services that it started."""

    demo: ProcessIdentity
    processes: list[ProcessIdentity]
    services: list[str]


@attrs.frozen
class RecordFile:
    """The file that records what a running demo has started."""

    path: Path
    services: list[str]

    def write(self, processes: Sequence[psutil.Process]) -> None:
        """Record the running processes. Ignores `OSError`: a full disk must not prevent stopping them."""
        identities = [
            ProcessIdentity(process.pid, found) for process in processes if (found := fingerprint(process.pid))
        ]
        demo = ProcessIdentity(os.getpid(), fingerprint(os.getpid()) or "")
        unfinished = self.path.with_suffix(".new")
        with suppress(OSError):
            unfinished.write_bytes(msgspec.json.encode(RunRecord(demo, identities, self.services)))
            unfinished.replace(self.path)


@contextmanager
def recorded(directory: Path, started: Sequence[Service]) -> Iterator[RecordFile]:
    """Provide the record of this demo, which has started the services `started`; remove it at the end."""
    record = RecordFile(directory / "run" / f"demo-{os.getpid()}.json", [service.name for service in started])
    record.path.parent.mkdir(parents=True, exist_ok=True)
    record.write([])
    try:
        yield record
    finally:
        record.path.unlink(missing_ok=True)


async def stop_leftover_processes(directory: Path, say: Callable[[str], None]) -> set[str]:
    """Stop the engine and HTTP server of every killed demo of `directory`; a running demo is left alone.

    Returns the names of the services that the killed demos had started: the caller has to stop them. Raises `Failed`
    when processes belong to another user.
    """
    services: set[str] = set()
    for path in sorted((directory / "run").glob("demo-*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            continue
        except msgspec.DecodeError:
            record = None
        if record is not None and record.demo.alive:
            continue
        if record is not None:
            await _stop_leftover(record, say)
            services.update(record.services)
        path.unlink(missing_ok=True)
    return services


async def _stop_leftover(record: RunRecord, say: Callable[[str], None]) -> None:
    alive = [process.pid for process in record.processes if process.alive]
    if not alive:
        return
    say(f"A demo was killed (pid {record.demo.pid}) and left {len(alive)} processes: stopping its engine and server")
    processes = list({process.pid: process for pid in alive for process in process_tree(pid)}.values())
    with_honcho = alive[0] == record.processes[0].pid
    try:
        await stop_processes(processes, processes[:1] if with_honcho else processes, say)
    except psutil.AccessDenied:
        raise Failed(f"the processes {alive} belong to another user: stop them as that user") from None


async def stop_processes(
    processes: Sequence[psutil.Process], to_signal: Sequence[psutil.Process], say: Callable[[str], None]
) -> None:
    """Send SIGTERM to `to_signal`, which stop the other `processes`; kill those that still run after a while."""
    signal_all(to_signal, signal.SIGTERM)
    if not await wait_until_gone(processes, _DRAIN_S):
        say("The processes do not stop: killing them")
        signal_all(processes, signal.SIGKILL)
        await wait_until_gone(processes, _KILL_S)
