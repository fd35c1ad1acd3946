"""Sets the clock of a process wrong by CLOCK_IS_OFF_S seconds. Python runs this file if its folder is on PYTHONPATH.

It simulates a machine without time synchronization. `time.monotonic` is not changed.
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
    """Creates objects of the original type, because libraries check for exactly this type."""

    __slots__ = ()

    def __new__(cls, *parts: Any, **more: Any) -> _TrueDatetime:  # type: ignore[misc]
        return _TrueDatetime(*parts, **more)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _TrueDatetime:  # type: ignore[override]
        """Return the time of the wrong clock."""
        return _TrueDatetime.fromtimestamp(time.time(), tz)


if _off_s:
    time.time = lambda: _true_time() + _off_s
    datetime.datetime = _Datetime  # type: ignore[misc]
