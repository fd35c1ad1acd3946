"""Finds out that a broker does not answer. Pure: time is an argument, in seconds of a steady clock.

aiokafka waits such an outage out by itself and gives no sign of it: polling finds nothing, as in a topic at rest. But
even for a topic at rest a broker answers twice a second.
"""

SILENCE_S = 5.0
"""How long a broker that is asked all the time may say nothing."""


class Silence:
    """The time since the broker was last heard."""

    def __init__(self) -> None:
        self._heard_s = 0.0
        self._last_answer: int | None = None
        self._lasts = False

    def heard(self, now_s: float) -> None:
        """Note that the broker has said something."""
        self._heard_s, self._lasts = now_s, False

    def lasts(self, last_answer: int | None, now_s: float) -> bool:
        """Return whether the broker is silent.

        `last_answer` changes with every answer to a fetch; None says that nothing is fetched. Then there is nothing to
        miss either, unless the silence began before.
        """
        asked = last_answer is not None
        if (asked and last_answer != self._last_answer) or not (asked or self._lasts):
            self.heard(now_s)
        self._last_answer = last_answer
        self._lasts = now_s - self._heard_s > SILENCE_S
        return self._lasts
