"""Keeps packages out of a process that libraries import wherever they are installed, and that it does not use.

They cost each process several megabytes, and a part of a second at its start.
"""

import os
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder

from engine.telemetry.tracing import TracingRefused, wanted_by

OF_SPANS = "opentelemetry"
"""Imported by redis. It is used if spans are enabled."""
UNUSED = frozenset({"greenlet", "rich"})
"""Imported by structlog. rich would show local variables in a traceback, which may contain personal data."""


class _ImportBlocker(MetaPathFinder):
    """Makes every import of some packages fail, as if they were not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is not imported: it is not used here", name=name)


def block_unused_imports(environment: Mapping[str, str] = os.environ) -> None:
    """Prevent their import into this process. Call this before redis and structlog are imported."""
    sys.meta_path.insert(0, _ImportBlocker(UNUSED if _has_spans(environment) else UNUSED | {OF_SPANS}))


def _has_spans(environment: Mapping[str, str]) -> bool:
    try:
        return wanted_by(environment) is not None
    except TracingRefused:
        return True  # `start_tracing` will raise the same error
