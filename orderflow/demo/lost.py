"""What a demo has started, written down while it runs: whoever comes after a demo that was killed can end the rest."""

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
from orderflow.services.process import family, fingerprint, gone, signal_all

_DRAIN_S = 20.0
_KILL_S = 10.0


@attrs.frozen
class Mark:
    """One process, told from a later one with the same pid."""

    pid: int
    fingerprint: str

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return fingerprint(self.pid) == self.fingerprint


@attrs.frozen
class RunRecord:
    """The demo itself, the processes below it (honcho first), and the names of the services that it had to start."""

    demo: Mark
    processes: list[Mark]
    services: list[str]


@attrs.frozen
class RecordFile:
    """The file that says what a living demo has started."""

    path: Path
    services: list[str]

    def write(self, processes: Sequence[psutil.Process]) -> None:
        """Write down the processes that run now. A full disk must not keep them from being stopped."""
        marks = [Mark(process.pid, mark) for process in processes if (mark := fingerprint(process.pid))]
        demo = Mark(os.getpid(), fingerprint(os.getpid()) or "")
        unfinished = self.path.with_suffix(".new")
        with suppress(OSError):
            unfinished.write_bytes(msgspec.json.encode(RunRecord(demo, marks, self.services)))
            unfinished.replace(self.path)


@contextmanager
def recorded(directory: Path, started: Sequence[Service]) -> Iterator[RecordFile]:
    """Provide the record of this demo, which had to start `started` of `directory`; remove it at the end."""
    record = RecordFile(directory / "run" / f"demo-{os.getpid()}.json", [service.name for service in started])
    record.path.parent.mkdir(parents=True, exist_ok=True)
    record.write([])
    try:
        yield record
    finally:
        record.path.unlink(missing_ok=True)


async def end_lost_demos(directory: Path, say: Callable[[str], None]) -> set[str]:
    """End engine and HTTP server of every demo of `directory` that was killed itself; one that lives is left alone.

    Returns the names of the services that those demos had started, which still have to be stopped. Raises `Failed`
    when the processes belong to another user.
    """
    services: set[str] = set()
    for path in sorted((directory / "run").glob("demo-*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            continue
        except msgspec.DecodeError:
            record = None
        if record is not None and record.demo.lives:
            continue
        if record is not None:
            await _end(record, say)
            services.update(record.services)
        path.unlink(missing_ok=True)
    return services


async def _end(record: RunRecord, say: Callable[[str], None]) -> None:
    living = [mark.pid for mark in record.processes if mark.lives]
    if not living:
        return
    say(f"A demo was killed (pid {record.demo.pid}) and left {len(living)} processes: stopping its engine and server")
    processes = list({process.pid: process for pid in living for process in family(pid)}.values())
    with_honcho = living[0] == record.processes[0].pid
    try:
        await stop_processes(processes, processes[:1] if with_honcho else processes, say)
    except psutil.AccessDenied:
        raise Failed(f"the processes {living} belong to another user: stop them as that user") from None


async def stop_processes(
    processes: Sequence[psutil.Process], told: Sequence[psutil.Process], say: Callable[[str], None]
) -> None:
    """Ask `told` to end, which end the others of `processes`, and kill what is left after a while."""
    signal_all(told, signal.SIGTERM)
    if not await gone(processes, _DRAIN_S):
        say("They do not end by themselves: killing them")
        signal_all(processes, signal.SIGKILL)
        await gone(processes, _KILL_S)
