"""The brake: detects that too many recent messages were rejected, so the producer is probably broken. Pure.

`engine/stages/processor.py` counts what the handler rejects, before it is written: the brake engages early.
`engine/stages/writer.py` counts what is stored, with what PostgreSQL has refused. `engine/stages/brake_pause.py` is the
pause.
"""

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import attrs

from engine.dead_letters.headers import read_replay_headers
from engine.records import Batch, Entry
from engine.verdict import Rejected


@attrs.frozen
class BrakeLimits:
    """The limits of the brake. It pauses the worker for `pause_s` seconds after too many rejected messages.

    Too many means: more than `share` (0 to 1) of the last `window` messages. With a share of 1 it never pauses.
    """

    share: float = 0.5
    window: int = 1000
    pause_s: float = 60.0


class _Window:
    """The verdicts on the last `limits.window` messages."""

    def __init__(self, limits: BrakeLimits) -> None:
        self._limits = limits
        self._recent: deque[bool] = deque()
        self.rejected = 0

    @property
    def engaged(self) -> bool:
        window = self._limits.window
        return len(self._recent) == window and self.rejected > self._limits.share * window

    def count(self, rejected: bool) -> None:
        if len(self._recent) == self._limits.window:
            self.rejected -= self._recent.popleft()
        self._recent.append(rejected)
        self.rejected += rejected

    def count_accepted(self, messages: int) -> None:
        if self.rejected:
            for _ in range(messages):
                self.count(False)
        else:
            free = self._limits.window - len(self._recent)
            self._recent.extend(repeat(False, min(messages, free)))

    def clear(self) -> None:
        self._recent.clear()
        self.rejected = 0


class Brake:
    """Counts the rejected messages among the last `limits.window` messages. It engages only after a full window.

    Messages are counted twice: when the handler has judged them, and when they are stored.
    """

    def __init__(self, limits: BrakeLimits) -> None:
        self.limits = limits
        self._judged, self._stored = _Window(limits), _Window(limits)

    @property
    def rejected(self) -> int:
        """The number of rejected messages in the window: the higher one of the two counts."""
        return max(self._judged.rejected, self._stored.rejected)

    @property
    def engaged(self) -> bool:
        """Whether consumption must pause."""
        return self._judged.engaged or self._stored.engaged

    @property
    def engaged_by_stored(self) -> bool:
        """Whether consumption must pause because of what was stored, and not only of what the handler has judged."""
        return self._stored.engaged

    def count(self, rejected: bool) -> None:
        """Count a message that the handler has judged."""
        self._judged.count(rejected)

    def count_judged(self, entries: Sequence[Entry[Any]], topic: str) -> None:
        """Count the messages that the handler has judged."""
        _count(self._judged, entries, topic)

    def count_accepted(self, messages: int) -> None:
        """Count messages that the handler has accepted."""
        self._judged.count_accepted(messages)

    def count_stored(self, batch: Batch[Any]) -> None:
        """Count the messages of a committed batch."""
        if batch.rejected():
            _count(self._stored, batch.entries, batch.topic)
        else:
            self._stored.count_accepted(len(batch.entries))

    def release(self) -> None:
        """Release the brake: start counting again from zero."""
        self._judged.clear()
        self._stored.clear()


def _count(window: _Window, entries: Sequence[Entry[Any]], topic: str) -> None:
    for entry in entries:
        rejected = isinstance(entry.value, Rejected)
        # A rejected replay of a dead letter does not mean that the producer is broken.
        if not (rejected and read_replay_headers(entry.record, topic)):
            window.count(rejected)
