"""The restart policy: when to restart a dead child process, and when to give up. Pure: time is an argument."""

from collections import deque

import attrs

from engine.actors.backoff import Backoff

CANNOT_START = 3
"""The exit code of a child that cannot start, and for which a restart will not help."""


@attrs.frozen
class Restart:
    """Start the child again after `delay_s` seconds."""

    delay_s: float


@attrs.frozen
class GiveUp:
    """Stop all children and exit with `exit_code`."""

    exit_code: int
    reason: str


class RestartPolicy:
    """Allows `restart_max` restarts within `window_s` seconds, with a backoff between restarts.

    `restart_max` and `window_s` are the intensity and the period of an Erlang/OTP supervisor. The sum of all delays is
    at most half of the window: otherwise a child that dies at every start would never reach the limit.
    """

    def __init__(self, restart_max: int = 10, window_s: float = 60.0, backoff: Backoff | None = None) -> None:
        self._restart_max = restart_max
        self._window_s = window_s
        share_s = window_s / 2 / max(1, restart_max)
        self._backoff = backoff or Backoff(initial_s=0.2, maximum_s=min(10.0, max(1.0, share_s)))
        self._deaths: deque[float] = deque()

    def child_died(self, exit_code: int, now_s: float, chance: float = 1.0) -> Restart | GiveUp:
        """Decide about a child that died at `now_s` (monotonic, in seconds). `chance` in [0, 1] sets the jitter."""
        if exit_code == CANNOT_START:
            return GiveUp(CANNOT_START, "a worker cannot start, and a restart will not help")
        self._deaths.append(now_s)
        while self._deaths and self._deaths[0] <= now_s - self._window_s:
            self._deaths.popleft()
        if len(self._deaths) > self._restart_max:
            return GiveUp(1, f"more than {self._restart_max} restarts within {self._window_s:g} s")
        return Restart(self._backoff.delay_s(len(self._deaths), chance))
