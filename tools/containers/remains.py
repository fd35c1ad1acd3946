"""Ends what an engine of ours leaves behind when it was killed: processes of containers, and mounts."""

import re
import signal
import subprocess
from pathlib import Path

import psutil

from orderflow.services.process import process_tree, signal_all, wait_until_gone

_TIMEOUT_S = 10


async def end_remains(state: Path, store: Path) -> None:
    """Kill the processes that name the engine's folder `state`, with their children; unmount what is in both folders.

    `state` belongs to this checkout, so that no other engine's process names it.
    """
    keepers = [process for process in psutil.process_iter() if _names(process, state)]
    left = [process for keeper in keepers for process in process_tree(keeper.pid)]
    signal_all(left, signal.SIGKILL)
    await wait_until_gone(left, _TIMEOUT_S)
    _unmount(state, store)


def _names(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in word for word in process.cmdline())
    except psutil.Error:
        return False


def _unmount(*folders: Path) -> None:
    for path in mounted_below(Path("/proc/self/mountinfo").read_text(), *folders):
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


def mounted_below(mounts: str, *folders: Path) -> list[str]:
    """Return the mount points of a text like /proc/self/mountinfo that are in one of `folders`, the deepest first."""
    points = [line.split()[4] for line in mounts.splitlines()]
    paths = [re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), point) for point in points]
    found = [path for path in paths if any(path.startswith(f"{folder}/") for folder in folders)]
    return sorted(found, key=len, reverse=True)
