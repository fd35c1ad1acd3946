"""Delays grow up to a maximum, and chance spreads them over the upper half."""

from hypothesis import given
from hypothesis import strategies as st

from engine.actors.backoff import Backoff

CHANCE = st.floats(0, 1, exclude_max=True)


def test_the_delay_doubles_up_to_its_maximum() -> None:
    """The first failed try waits the initial delay; no try waits more than the maximum."""
    backoff = Backoff(initial_s=2, factor=2, maximum_s=60)
    assert [backoff.delay_s(attempt, 1.0) for attempt in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]


def test_chance_takes_off_up_to_half() -> None:
    """Equal jitter: those who failed together do not come back together, nor at once."""
    backoff = Backoff(initial_s=2, factor=2, maximum_s=60)
    assert [backoff.delay_s(2, chance) for chance in (0.0, 0.5, 1.0)] == [2, 3, 4]


def test_a_factor_of_one_never_grows() -> None:
    """Some want a steady beat."""
    assert Backoff(initial_s=3, factor=1, maximum_s=60).delay_s(1000, 1.0) == 3


@given(
    initial_s=st.floats(0.01, 10),
    factor=st.floats(1, 10),
    maximum_s=st.floats(10, 1000),
    attempt=st.integers(1, 1_000_000),
    chance=CHANCE,
)
def test_a_delay_is_never_outside_its_bounds(
    initial_s: float, factor: float, maximum_s: float, attempt: int, chance: float
) -> None:
    """However long an outage lasts: at least half the initial delay, at most the maximum, and no number too large."""
    delay_s = Backoff(initial_s, factor, maximum_s).delay_s(attempt, chance)
    assert initial_s / 2 <= delay_s <= maximum_s


@given(attempt=st.integers(1, 200), chance=CHANCE)
def test_more_attempts_never_wait_less(attempt: int, chance: float) -> None:
    """With the same chance, the next delay is at least as long."""
    backoff = Backoff()
    assert backoff.delay_s(attempt + 1, chance) >= backoff.delay_s(attempt, chance)


def test_a_steep_factor_ends_at_the_maximum_too() -> None:
    """A setting that is allowed must not end a worker in a long outage."""
    assert Backoff(initial_s=2.0, factor=1e5, maximum_s=60.0).delay_s(70, 1.0) == 60
