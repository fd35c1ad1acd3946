"""One timer for many requests with the same deadline."""

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """What is ended at its deadline."""

    def expire(self) -> None:
        """End it, with `Deadlines.end`. Does not raise."""


class Deadlines:
    """Calls `expire` for what has not ended `deadline_s` seconds after it began."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._began_s: dict[Expiring, float] = {}
        """The time of the loop of each begin, oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, expiring: Expiring) -> None:
        """Begin to wait. `end` must be called, also when it has expired."""
        loop = asyncio.get_running_loop()
        self._began_s[expiring] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._deadline_s, self._expire)

    def end(self, expiring: Expiring) -> None:
        """Stop waiting: it has ended."""
        del self._began_s[expiring]

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._began_s:
            expiring, began_s = next(iter(self._began_s.items()))
            ends_s = began_s + self._deadline_s
            if ends_s > loop.time():
                self._timer = loop.call_at(ends_s, self._expire)
                return
            expiring.expire()
