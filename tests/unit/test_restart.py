"""A dead child is restarted with backoff, until it happens too often; some deaths no restart can help."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.backoff import Backoff
from engine.processes.restart import CANNOT_START, GiveUp, Restart, RestartPolicy


def test_a_child_that_cannot_start_is_given_up_at_once() -> None:
    """Exit code 3 says that a restart will not help; it is passed on."""
    decision = RestartPolicy(10, 60).child_died(CANNOT_START, 0)
    assert isinstance(decision, GiveUp)
    assert decision.exit_code == CANNOT_START == 3


@pytest.mark.parametrize("exit_code", [0, 1, 2, 4, -9, -11, 137])
def test_any_other_death_is_answered_with_a_restart(exit_code: int) -> None:
    """Even a clean exit that nobody asked for."""
    assert isinstance(RestartPolicy(10, 60).child_died(exit_code, 0), Restart)


def test_one_death_too_many_within_the_window_ends_it() -> None:
    """As many restarts as allowed, then exit code 1 and a reason that names the limits."""
    policy = RestartPolicy(3, 60)
    assert all(isinstance(policy.child_died(1, now_s), Restart) for now_s in (0, 1, 2))
    decision = policy.child_died(1, 3)
    assert isinstance(decision, GiveUp)
    assert decision.exit_code == 1
    assert "3 restarts within 60 s" in decision.reason


def test_a_death_that_is_a_window_old_is_forgotten() -> None:
    """Rare deaths never add up."""
    policy = RestartPolicy(1, 60)
    assert all(isinstance(policy.child_died(1, now_s), Restart) for now_s in (0, 60, 120, 180))
    assert isinstance(policy.child_died(1, 239.9), GiveUp)


def test_no_restarts_at_all_may_be_allowed() -> None:
    """Then the first death is the end."""
    assert RestartPolicy(0, 60).child_died(1, 0) == GiveUp(1, "more than 0 restarts within 60 s")


def test_restarts_that_follow_closely_wait_longer_and_longer() -> None:
    """Up to the maximum; after a quiet window the delay starts small again."""
    policy = RestartPolicy(10, 60, Backoff(initial_s=0.5, factor=2, maximum_s=3))
    delays = [policy.child_died(1, now_s, 1.0) for now_s in range(5)]
    assert delays == [Restart(0.5), Restart(1.0), Restart(2.0), Restart(3.0), Restart(3.0)]
    assert policy.child_died(1, 1000, 1.0) == Restart(0.5)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_child_that_dies_at_every_start_is_given_up(chance: float) -> None:
    """With the default limits, and although each start takes seconds: backoff does not stretch it past the window."""
    policy, now_s, restarts = RestartPolicy(10, 60), 0.0, 0
    while isinstance(decision := policy.child_died(1, now_s, chance), Restart):
        restarts += 1
        assert restarts <= 10, "it is restarted for ever"
        now_s += decision.delay_s + 3.5
    assert (restarts, decision.exit_code) == (10, 1)


def test_who_wants_restarts_without_end_gets_them_with_pauses() -> None:
    """However many are allowed, a child that dies at every start does not take the machine with it."""
    policy = RestartPolicy(1_000_000, 60)
    assert [policy.child_died(1, float(now_s)) for now_s in range(10)][-1] == Restart(1.0)


def test_chance_spreads_the_restarts() -> None:
    """Children that died together do not come back together."""
    assert RestartPolicy(10, 60).child_died(1, 0, 0.0) == Restart(0.1)
    assert RestartPolicy(10, 60).child_died(1, 0, 1.0) == Restart(0.2)


@given(
    restart_max=st.integers(0, 6),
    window_s=st.integers(1, 20) | st.floats(1, 100),
    deaths=st.lists(
        st.tuples(st.integers(0, 10) | st.floats(0, 60), st.sampled_from([1, 1, 1, 0, -9, CANNOT_START])), max_size=60
    ),
    chance=st.floats(0, 1),
)
def test_it_agrees_with_counting_the_deaths_of_the_last_window(
    restart_max: int, window_s: float, deaths: list[tuple[float, int]], chance: float
) -> None:
    """Whatever the rhythm of the deaths, and also when one is exactly a window old."""
    backoff = Backoff(initial_s=1, factor=3, maximum_s=20)
    policy = RestartPolicy(restart_max, window_s, backoff)
    now_s, counted = 0.0, []
    for gap_s, exit_code in deaths:
        now_s += gap_s
        decision = policy.child_died(exit_code, now_s, chance)
        if exit_code == CANNOT_START:
            assert decision == GiveUp(CANNOT_START, "a worker cannot start, and a restart will not help")
            continue
        counted.append(now_s)
        lately = sum(death_s > now_s - window_s for death_s in counted)
        if lately > restart_max:
            assert isinstance(decision, GiveUp)
            assert decision.exit_code == 1
        else:
            assert decision == Restart(min(20, 3 ** (lately - 1)) * (0.5 + chance / 2))
