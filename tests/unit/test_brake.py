"""The brake engages when more than its share of a whole window was rejected, and not before."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stages.brake import Brake, BrakeLimits


def seen(verdicts: list[bool], share: float = 0.5, window: int = 4) -> Brake:
    brake = Brake(BrakeLimits(share, window, pause_s=60))
    for rejected in verdicts:
        brake.count(rejected)
    return brake


def test_it_waits_for_a_whole_window() -> None:
    """Three rejected messages of three say nothing when the window is four."""
    assert not seen([True] * 3).engaged
    assert seen([True] * 4).engaged


def test_exactly_the_share_is_allowed() -> None:
    """Half of the window rejected is not more than half."""
    assert not seen([True, True, False, False]).engaged
    assert seen([True, True, True, False]).engaged


def test_old_messages_leave_the_window() -> None:
    """What was rejected long ago is forgotten."""
    assert not seen([True] * 4 + [False] * 2).engaged


def test_a_share_of_one_never_engages_it() -> None:
    """No more than all messages can be rejected."""
    assert not seen([True] * 100, share=1).engaged


def test_after_its_release_it_counts_anew() -> None:
    """A whole window must be seen again."""
    brake = seen([True] * 4)
    brake.release()
    assert not brake.engaged
    assert brake.rejected == 0
    for _ in range(3):
        brake.count(rejected=True)
        assert not brake.engaged
    brake.count(rejected=True)
    assert brake.engaged


@pytest.mark.parametrize("window", [1, 7])
@given(
    happened=st.lists(st.sampled_from(["rejected"] * 5 + ["accepted"] * 5 + ["released"]), max_size=60),
    share=st.sampled_from([0, 0.2, 0.5, 0.99, 1]),
)
def test_it_agrees_with_counting_the_last_window(window: int, happened: list[str], share: float) -> None:
    """Whatever comes, it is engaged exactly when more than its share of the last whole window was rejected."""
    brake, recent = Brake(BrakeLimits(share, window, pause_s=60)), deque[bool](maxlen=window)
    for what in happened:
        if what == "released":
            brake.release()
            recent.clear()
        else:
            brake.count(what == "rejected")
            recent.append(what == "rejected")
        assert brake.rejected == sum(recent)
        assert brake.engaged == (len(recent) == window and sum(recent) > share * window)
