"""What is different under honcho: `.env` overrides the environment that the user has set, and a stop is short."""

import os
from collections.abc import Mapping

_MARK = "HONCHO_PROCESS_NAME"
STOPS_WITHIN_S = 4.0
"""How long a stop may take under honcho, which kills its processes five seconds after SIGTERM."""


def under_honcho() -> bool:
    """Return whether honcho has started this process, or a process that has started this one."""
    return _MARK in os.environ


def real_environment() -> Mapping[str, str]:
    """Return the process environment; under honcho the environment that honcho was started with.

    honcho overrides the environment of its child processes with `.env`, so that a child cannot distinguish the two.
    The original environment is that of the nearest ancestor process that honcho has not marked.
    """
    if not under_honcho():
        return os.environ
    import psutil  # noqa: PLC0415 (a megabyte in every process, and only needed here)

    try:
        for ancestor in psutil.Process().parents():
            environment = ancestor.environ()
            if environment and _MARK not in environment:
                return environment
    except (psutil.Error, OSError):
        pass
    return os.environ
