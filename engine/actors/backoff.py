"""How long to wait before the next try. A pure function: the random number is an argument."""

import attrs


@attrs.frozen
class Backoff:
    """Exponential delays with equal jitter: a random value between half of the delay and the full delay."""

    initial_s: float = 2.0
    factor: float = 2.0
    maximum_s: float = 60.0

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the delay in seconds after failed try number `attempt` (from 1). `chance` is random in [0, 1)."""
        try:
            whole = min(self.maximum_s, self.initial_s * self.factor ** (attempt - 1))
        except OverflowError:
            whole = self.maximum_s
        return whole * (0.5 + chance / 2)
