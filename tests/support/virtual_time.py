"""An event loop whose time passes only when everybody waits for it, and then at once."""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: unless a file is ready, a wait moves the clock, up to a limit; there it calls `at_limit`."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.limit_s = math.inf
        self.at_limit: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        if ready := super().select(0):
            return ready
        if timeout is not None and self.now_s + timeout <= self.limit_s:
            self.now_s += timeout
        else:
            assert self.limit_s < math.inf, "nothing will ever happen"
            self.now_s = self.limit_s
            self.at_limit()
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """For tests without I/O: `time()` jumps to the next timer when nothing is ready."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._jumping.at_limit = self.stop

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._jumping.now_s

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Leave signals to whoever runs the tests."""

    def pass_time(self, seconds: float = 0.0) -> None:
        """Run what is ready and every timer that is due within `seconds`, until all wait for a later time."""
        self._jumping.limit_s = self.time() + seconds
        try:
            self.run_forever()
        finally:
            self._jumping.limit_s = math.inf

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, however long that takes on this clock."""
        return self.run_until_complete(work)

    def close(self) -> None:
        """Cancel what is left and close. Closing twice is fine."""
        if not self.is_closed():
            for task in asyncio.all_tasks(self):
                task.cancel()
            self.pass_time()
        super().close()
