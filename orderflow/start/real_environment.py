"""The environment that the user set, also under honcho, which lets `.env` win over it."""

import os
from collections.abc import Mapping

import psutil

_MARK = "HONCHO_PROCESS_NAME"


def real_environment() -> Mapping[str, str]:
    """Return the process environment; under honcho the one that honcho itself was started with.

    honcho writes what stands in `.env` over the environment of its children, so that a child cannot tell the two
    apart. Its own environment is as it was: that of the nearest ancestor that honcho has not marked.
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
