"""Stops services and processes of a test run that was killed, or interrupted twice, before it could stop them.

Services run in their own sessions, so Ctrl-C does not reach them.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orderflow.services.process import DetachedProcess, process_tree, signal_all
from tests.support.hosts import remove_noted
from tests.support.programs import marked

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def lifeline(directory: Path, mark: str) -> Iterator[None]:
    """When this process ends, stop services with pid files under `directory`, and processes with `mark`.

    Hosts in miniature that are noted under `directory` are removed, too.
    """
    command = [sys.executable, "-m", __name__, str(directory), mark]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        yield
        watcher.communicate(timeout=60)


def main(directory: Path, mark: str) -> None:
    """Wait for the end of standard input, which means that the test run has ended, and stop what it left."""
    sys.stdin.buffer.read()
    for pid_file in directory.rglob("run/*.pid"):
        if (pid := DetachedProcess(pid_file.stem, pid_file, pid_file.with_suffix(".log")).pid) is not None:
            signal_all(process_tree(pid), signal.SIGKILL)
    signal_all(marked(mark), signal.SIGKILL)
    remove_noted(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
