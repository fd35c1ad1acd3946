"""The brake: detects that too many recent messages were rejected, so the producer is probably broken. Pure.

`engine/stages/processor.py` asks it; `engine/stages/brake_pause.py` is the pause.
"""

from collections import deque

import attrs


@attrs.frozen
class BrakeLimits:
    """The limits of the brake. It pauses the worker for `pause_s` seconds after too many rejected messages.

    Too many means: more than `share` (0 to 1) of the last `window` messages. With a share of 1 it never pauses.
    """

    share: float = 0.5
    window: int = 1000
    pause_s: float = 60.0


class Brake:
    """Counts the rejected messages among the last `limits.window` messages. It engages only after a full window."""

    def __init__(self, limits: BrakeLimits) -> None:
        self.limits = limits
        self._recent: deque[bool] = deque()
        self._rejected = 0

    @property
    def rejected(self) -> int:
        """The number of rejected messages in the window."""
        return self._rejected

    @property
    def engaged(self) -> bool:
        """Whether consumption must pause."""
        window = self.limits.window
        return len(self._recent) == window and self._rejected > self.limits.share * window

    def count(self, rejected: bool) -> None:
        """Count one message, rejected or not."""
        if len(self._recent) == self.limits.window:
            self._rejected -= self._recent.popleft()
        self._recent.append(rejected)
        self._rejected += rejected

    def release(self) -> None:
        """Release the brake: start counting again from zero."""
        self._recent.clear()
        self._rejected = 0
