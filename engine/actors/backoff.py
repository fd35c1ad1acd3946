"""How long to wait before trying again. Pure: chance is an argument."""

import attrs


@attrs.frozen
class Backoff:
    """Exponential delays with equal jitter: between half of the delay and the whole of it."""

    initial_s: float = 2.0
    factor: float = 2.0
    maximum_s: float = 60.0

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the delay in seconds before try `attempt` + 1 (the first failed try is 1); `chance` is in [0, 1)."""
        try:
            whole = min(self.maximum_s, self.initial_s * self.factor ** (attempt - 1))
        except OverflowError:
            whole = self.maximum_s
        return whole * (0.5 + chance / 2)
