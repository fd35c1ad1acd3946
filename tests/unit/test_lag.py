"""How far behind a partition is, in messages and in seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kafka.lag import (
    CLOCK_TOLERANCE_S,
    Lag,
    Position,
    age_s,
    held_messages,
    lag_messages,
    lag_seconds,
    measure,
    plausible,
)
from engine.kafka.lag_reader import unknown_lag

NOW_S = 1_000_000.0


def ms(seconds: float) -> int:
    return int(seconds * 1000)


@pytest.mark.parametrize(
    ("position", "end_offset", "messages"),
    [
        (Position(10), 10, 0),
        (Position(10), 17, 7),
        (Position(0), 3, 3),
        (Position(10), None, None),  # Kafka is away
        (None, 10, None),  # nobody knows where the group would begin
        (Position(10), 4, None),  # another topic of the same name
    ],
)
def test_the_lag_is_what_lies_between_the_position_and_the_end(
    position: Position | None, end_offset: int | None, messages: int | None
) -> None:
    assert lag_messages(position, end_offset) == messages


def consumed(last_s: float | None, consumed_s: float = NOW_S) -> Position:
    """Return the position behind a record whose timestamp is `last_s`, stored at `consumed_s`."""
    return Position(5, None if last_s is None else ms(last_s), consumed_s)


YEAR_S = 365 * 24 * 3600.0
LATER = YEAR_S * 40


def seconds(position: Position | None, first_s: float | None) -> float | None:
    """Return the lag of a partition whose first waiting record has the timestamp `first_s`, which is judged now."""
    return lag_seconds(1, position, plausible(None if first_s is None else ms(first_s), LATER), LATER)


def test_without_lag_there_is_no_delay() -> None:
    assert lag_seconds(0, consumed(NOW_S - 3600), ms(NOW_S - 3600), NOW_S) == 0.0


def test_an_unknown_lag_has_no_delay_either() -> None:
    assert lag_seconds(None, consumed(NOW_S), ms(NOW_S), NOW_S) is None


@pytest.mark.parametrize(
    ("last_s", "first_s", "age"),
    [
        (LATER - 12, LATER - 3, 3.0),
        (LATER - 3600, LATER - 2, 2.0),  # a quiet hour is not an hour's delay
        (LATER - 5, LATER - YEAR_S, 5.0),  # the first waits since last year, it says: but what was before it did not
        (LATER - YEAR_S, LATER - 5, 5.0),  # the one before it says so
        (LATER + 3000, LATER - 5, 5.0),  # the one before it comes from the future
        (LATER - 30, LATER + 3000, 30.0),
        (LATER - 30, None, 30.0),
        (None, LATER - 30, 30.0),
        (LATER + 3000, LATER + 3000, None),
        (LATER + 3000, None, None),
        (None, None, None),
        (None, LATER + 2, 0.0),  # clocks differ
    ],
)
def test_the_delay_is_that_of_the_latest_timestamp_that_can_be_true(
    last_s: float | None, first_s: float | None, age: float | None
) -> None:
    """Of the first record that waits, and of the one consumed before it."""
    assert seconds(consumed(last_s, LATER), first_s) == age


def test_a_timestamp_that_was_in_the_future_stays_wrong_when_its_time_has_come() -> None:
    """A partition that has stood still for an hour is an hour behind then, too, and not up to date."""
    position = consumed(LATER - 600, LATER - 3600)
    assert seconds(position, LATER - 3590) == 3590.0


def test_a_record_without_a_timestamp_is_of_unknown_age() -> None:
    assert plausible(-1, NOW_S) is None
    assert plausible(None, NOW_S) is None
    assert age_s(NOW_S, None, None) is None


def test_what_open_transactions_hold_back_is_no_lag() -> None:
    [lag] = measure({0: Position(5)}, {0: 5}, {}, {0: 105}, NOW_S)
    assert (lag.messages, lag.seconds, lag.held) == (0, 0.0, 100)


def test_an_end_that_was_asked_for_later_holds_nothing_back() -> None:
    assert held_messages(end=12, high=10) == 0


def test_a_partition_whose_leader_is_gone_is_unknown_and_the_others_are_told() -> None:
    lags = measure({0: Position(5), 1: Position(5)}, {0: None, 1: 7, 2: None}, {1: ms(NOW_S - 4)}, {1: 7}, NOW_S)
    assert lags == [
        Lag(0, 5, None, None, None, None),
        Lag(1, 5, 7, 2, 4.0, 0),
        Lag(2, None, None, None, None, None),
    ]


def test_a_first_message_that_nobody_could_ask_for_has_no_age() -> None:
    """The one before it would tell an hour, after a quiet hour."""
    [lag] = measure({0: consumed(NOW_S - 3600)}, {0: 6}, {}, {0: 6}, NOW_S)
    assert (lag.messages, lag.seconds) == (1, None)


def test_without_kafka_only_the_position_is_known() -> None:
    assert unknown_lag({0: Position(5, ms(NOW_S), NOW_S)}) == [Lag(0, 5, None, None, None, None)]


def test_every_partition_that_anybody_knows_of_is_listed_once() -> None:
    measured = measure({2: Position(1), 0: Position(1)}, {0: 1, 1: 4}, {}, {}, NOW_S)
    assert [(lag.partition, lag.messages) for lag in measured] == [(0, 0), (1, None), (2, None)]


@given(last_s=st.none() | st.floats(0, 2 * NOW_S), first_s=st.none() | st.floats(0, 2 * NOW_S))
def test_the_delay_is_never_negative_and_never_longer_than_a_true_timestamp_tells(
    last_s: float | None, first_s: float | None
) -> None:
    first = plausible(None if first_s is None else ms(first_s), NOW_S)
    found = lag_seconds(1, consumed(last_s), first, NOW_S)
    true = [
        moment for moment in (last_s, first_s) if moment is not None and ms(moment) <= ms(NOW_S + CLOCK_TOLERANCE_S)
    ]
    if found is None:
        assert not true
    else:
        assert found >= 0
        assert all(found <= max(0.0, NOW_S - moment) + 0.001 for moment in true)
