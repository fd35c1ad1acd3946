"""A process that outlives the command that started it. Later commands find it by its pid file."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import msgspec
import psutil

from orderflow.exits import Failed

_POLL_S = 0.02
_MAX_LOG_BYTES = 8 * 1024 * 1024


def fingerprint(pid: int) -> str | None:
    """Return a value that distinguishes the process from a later one with its pid; None if it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        # A zombie whose other threads are still ending holds its ports and files: it is not gone yet.
        if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
            return None
        if psutil.LINUX:
            # Not psutil's wall-clock start time: it changes when the machine's clock is set.
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            return f"{boot} {ticks}"
        return str(process.create_time())
    except (psutil.Error, OSError):
        return None


def process_tree(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants, the parent first; empty if the process is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    """Send a signal to each process that still runs. Processes that are gone are skipped."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


async def wait_until_gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Wait until all `processes` are gone (a zombie counts as gone). Return False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while any(process.is_running() and fingerprint(process.pid) for process in processes):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


@attrs.frozen
class PidRecord:
    """The content of a pid file."""

    pid: int
    fingerprint: str
    port: int


@attrs.define
class DetachedProcess:
    """One process in a separate session: Ctrl-C in the terminal that started it does not reach it."""

    title: str
    pid_file: Path
    log_file: Path
    _child: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)

    def running_record(self) -> PidRecord | None:
        """Return the record of the running process, or None. A pid file that a crash has left is removed."""
        if self._child is not None:
            self._child.poll()
        try:
            record = msgspec.json.decode(self.pid_file.read_bytes(), type=PidRecord)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            record = None
        if record is None or fingerprint(record.pid) != record.fingerprint:
            self.pid_file.unlink(missing_ok=True)
            return None
        return record

    @property
    def pid(self) -> int | None:
        """The process id; None if it does not run."""
        record = self.running_record()
        return record.pid if record else None

    def spawn(
        self,
        command: Sequence[str],
        *,
        port: int,
        environment: Mapping[str, str],
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        """Start the process, its output in the log file. `user` and `group` are numeric ids. Raises `Failed`."""
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self._open_log()
        with self.log_file.open("ab") as log:
            try:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=dict(environment),
                    start_new_session=True,
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                )
            except OSError as error:
                raise Failed(f"{self.title} cannot be run ({command[0]}: {error.strerror})") from None
        self._child = child
        record = PidRecord(child.pid, fingerprint(child.pid) or "", port)
        unfinished = self.pid_file.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(record))
        unfinished.replace(self.pid_file)

    def _open_log(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > _MAX_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".old.log"))

    def signal(self, number: int, *, children: bool = False) -> None:
        """Send a signal to the process, and to its descendants if `children`. Raises `Failed` when not permitted."""
        pid = self.pid
        if pid is None:
            return
        processes = process_tree(pid)
        try:
            signal_all(processes if children else processes[:1], number)
        except psutil.AccessDenied:
            raise Failed(f"{self.title} (pid {pid}) belongs to another user: stop it as that user") from None

    async def stop(self, number: int, timeout_s: float) -> bool:
        """Send the signal `number`, and wait; kill the process and its descendants after `timeout_s`.

        Returns whether it ran. Raises `Failed` when it belongs to another user.
        """
        pid = self.pid
        if pid is None:
            return False
        processes = process_tree(pid)
        # A frozen process (SIGSTOP) cannot handle the signal before it is continued.
        self.signal(signal.SIGCONT, children=True)
        self.signal(number)
        if not await wait_until_gone(processes, timeout_s):
            signal_all(processes, signal.SIGKILL)
            await wait_until_gone(processes, timeout_s)
        self._reap()
        return True

    async def kill(self) -> None:
        """Kill the process and its descendants at once, and wait until they are gone."""
        pid = self.pid
        if pid is None:
            return
        processes = process_tree(pid)
        self.signal(signal.SIGKILL, children=True)
        await wait_until_gone(processes, timeout_s=10)
        self._reap()

    def _reap(self) -> None:
        if self._child is not None:
            self._child.poll()
        self.pid_file.unlink(missing_ok=True)

    def log_tail(self, lines: int = 10) -> list[str]:
        """Return the last lines of the log."""
        if not self.log_file.exists():
            return []
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - 16_384))
            return log.read().decode(errors="replace").splitlines()[-lines:]


def bare_environment(**extra: str) -> dict[str, str]:
    """Return an environment without the user's settings (such as PGDATA or JAVA_TOOL_OPTIONS), plus `extra`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LANG": "C", "LC_ALL": "C", "TZ": "UTC", **extra}
