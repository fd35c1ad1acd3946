"""When too many messages in a row of late are rejected, something upstream is broken. Pure."""

from collections import deque

import attrs


@attrs.frozen
class BrakeLimits:
    """More than `share` (0 to 1) of the last `window` messages rejected engages the brake, for `pause_s` seconds.

    A share of 1 never engages it.
    """

    share: float = 0.5
    window: int = 1000
    pause_s: float = 60.0


class Brake:
    """Counts the verdicts on the last messages. Says nothing before it has seen a whole window of them."""

    def __init__(self, limits: BrakeLimits) -> None:
        self.limits = limits
        self._recent: deque[bool] = deque()
        self._rejected = 0

    @property
    def rejected(self) -> int:
        """How many of the messages in the window were rejected."""
        return self._rejected

    @property
    def engaged(self) -> bool:
        """Whether consumption must pause."""
        window = self.limits.window
        return len(self._recent) == window and self._rejected > self.limits.share * window

    def saw(self, rejected: bool) -> None:
        """Count one message."""
        if len(self._recent) == self.limits.window:
            self._rejected -= self._recent.popleft()
        self._recent.append(rejected)
        self._rejected += rejected

    def release(self) -> None:
        """Try again: count anew."""
        self._recent.clear()
        self._rejected = 0
