"""The peak memory of processes, as the kernel has recorded it: a sample could miss a short peak."""

from collections.abc import Sequence
from pathlib import Path

import psutil

MB = 1_000_000
_PEAK = "VmHWM:"
_KIB = 1024


def peak_bytes(processes: Sequence[psutil.Process]) -> int:
    """Return the highest resident memory that one of the running `processes` has had so far; 0 if none runs."""
    return max((_peak(process) for process in processes), default=0)


def _peak(process: psutil.Process) -> int:
    try:
        if not psutil.LINUX:
            return int(process.memory_info().rss)
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        return next((int(line.split()[1]) * _KIB for line in status.splitlines() if line.startswith(_PEAK)), 0)
    except (OSError, psutil.Error):  # a process that is ending
        return 0
