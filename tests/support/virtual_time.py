"""An event loop with virtual time: when all tasks wait for a timer, the clock jumps to it."""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Advances the clock instead of waiting, unless a file is ready. At a given limit it calls `at_limit`."""

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
    """An event loop for tests without I/O: `time()` jumps to the next timer when nothing is ready."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._jumping.at_limit = self.stop

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was created."""
        return self._jumping.now_s

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Ignore signal handlers: the test runner must receive the signals."""

    def pass_time(self, seconds: float = 0.0) -> None:
        """Run all ready callbacks and all timers that are due within `seconds`."""
        self._jumping.limit_s = self.time() + seconds
        try:
            self.run_forever()
        finally:
            self._jumping.limit_s = math.inf

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` until it ends. The clock advances as far as necessary."""
        return self.run_until_complete(work)

    def close(self) -> None:
        """Cancel all remaining tasks and close the loop. May be called twice."""
        if not self.is_closed():
            for task in asyncio.all_tasks(self):
                task.cancel()
            self.pass_time()
        super().close()
