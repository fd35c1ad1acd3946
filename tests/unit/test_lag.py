"""How far behind a partition is, in messages and in seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.lag import Lag, LagMeter, Position, lag_messages, lag_seconds

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


def test_without_lag_there_is_no_delay() -> None:
    assert lag_seconds(0, ms(NOW_S - 3600), None, NOW_S) == 0.0


def test_an_unknown_lag_has_no_delay_either() -> None:
    assert lag_seconds(None, ms(NOW_S), NOW_S, NOW_S) is None


def test_the_delay_counts_from_the_last_consumed_record() -> None:
    assert lag_seconds(5, ms(NOW_S - 12), None, NOW_S) == 12.0


def test_a_message_after_a_quiet_hour_is_not_an_hour_late() -> None:
    assert lag_seconds(1, ms(NOW_S - 3600), NOW_S - 2, NOW_S) == 2.0


def test_a_producer_whose_clock_is_ahead_makes_no_negative_delay() -> None:
    assert lag_seconds(1, ms(NOW_S + 60), None, NOW_S) == 0.0


def test_a_group_that_has_consumed_nothing_yet_cannot_tell_the_delay() -> None:
    assert lag_seconds(9, None, None, NOW_S) is None


def test_the_meter_remembers_when_a_partition_was_clear() -> None:
    meter = LagMeter()
    old = ms(NOW_S - 3600)
    assert meter.measure({0: Position(5, old)}, {0: 5}, NOW_S) == [Lag(0, 5, 5, 0, 0.0)]
    assert meter.measure({0: Position(5, old)}, {0: 6}, NOW_S + 3) == [Lag(0, 5, 6, 1, 3.0)]
    assert meter.measure({0: Position(5, old)}, {0: 9}, NOW_S + 8) == [Lag(0, 5, 9, 4, 8.0)]
    assert meter.measure({0: Position(9, ms(NOW_S + 9))}, {0: 9}, NOW_S + 10) == [Lag(0, 9, 9, 0, 0.0)]
    assert meter.measure({0: Position(9, ms(NOW_S + 9))}, {0: 10}, NOW_S + 11) == [Lag(0, 9, 10, 1, 1.0)]


def test_an_outage_of_kafka_is_no_moment_without_lag() -> None:
    meter = LagMeter()
    position = {0: Position(5, ms(NOW_S - 60))}
    assert meter.measure(position, None, NOW_S) == [Lag(0, 5, None, None, None)]
    assert meter.measure(position, {0: 6}, NOW_S + 1) == [Lag(0, 5, 6, 1, 61.0)]


def test_every_partition_that_anybody_knows_of_is_listed_once() -> None:
    measured = LagMeter().measure({2: Position(1), 0: Position(1)}, {0: 1, 1: 4}, NOW_S)
    assert [(lag.partition, lag.messages) for lag in measured] == [(0, 0), (1, None), (2, None)]


@given(
    messages=st.none() | st.integers(0, 10**9),
    last_s=st.none() | st.floats(0, 2 * NOW_S),
    clear_s=st.none() | st.floats(0, NOW_S),
)
def test_the_delay_is_never_negative_and_never_longer_than_either_bound(
    messages: int | None, last_s: float | None, clear_s: float | None
) -> None:
    seconds = lag_seconds(messages, None if last_s is None else ms(last_s), clear_s, NOW_S)
    if seconds is not None:
        bounds = [NOW_S - moment for moment in (last_s, clear_s) if moment is not None]
        assert seconds >= 0
        assert all(seconds <= max(0.0, bound) + 0.001 for bound in bounds)
