"""Sets a process's clock wrong by CLOCK_IS_OFF_S seconds: Python runs this file first if its folder is on PYTHONPATH.

It stands for a machine that follows no time server. What counts from some start on (`time.monotonic`) is as ever.
"""

import datetime
import os
import time
from typing import Any

_off_s = float(os.environ.get("CLOCK_IS_OFF_S", "0"))
_true_time, _TrueDatetime = time.time, datetime.datetime


class _AnyDatetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _TrueDatetime)


class _Datetime(_TrueDatetime, metaclass=_AnyDatetime):
    """Makes true ones: libraries ask for the very type."""

    __slots__ = ()

    def __new__(cls, *parts: Any, **more: Any) -> _TrueDatetime:  # type: ignore[misc]
        return _TrueDatetime(*parts, **more)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _TrueDatetime:  # type: ignore[override]
        """Return what the wrong clock says."""
        return _TrueDatetime.fromtimestamp(time.time(), tz)


if _off_s:
    time.time = lambda: _true_time() + _off_s
    datetime.datetime = _Datetime  # type: ignore[misc]
