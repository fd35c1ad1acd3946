"""The environment that the user has set, also under honcho, which overrides it with `.env`."""

import os
from collections.abc import Mapping

import psutil

_MARK = "HONCHO_PROCESS_NAME"


def real_environment() -> Mapping[str, str]:
    """Return the process environment; under honcho the environment that honcho was started with.

    honcho overrides the environment of its child processes with `.env`, so that a child cannot distinguish the two.
    The original environment is that of the nearest ancestor process that honcho has not marked.
    """
    if _MARK not in os.environ:
        return os.environ
    try:
        for ancestor in psutil.Process().parents():
            environment = ancestor.environ()
            if environment and _MARK not in environment:
                return environment
    except (psutil.Error, OSError):
        pass
    return os.environ
