"""How far behind each partition is: in messages, and in seconds. Pure: time is an argument.

Whoever sends a record may give it any timestamp, or none. So a record's age is told by its own timestamp and by those
of records before it: it is no older than any of them. One that is missing, or was in the future, tells nothing.
"""

from collections.abc import Mapping

import attrs

CLOCK_TOLERANCE_S = 5.0
"""So far ahead a timestamp may be: the clocks of machines differ."""


@attrs.frozen
class Position:
    """How far a partition is consumed, and the timestamp (ms since the epoch) of the last record that was consumed.

    `consumed_s` is when that was stored, in seconds since the epoch.
    """

    next_offset: int
    last_timestamp: int | None = None
    consumed_s: float | None = None


@attrs.frozen
class Lag:
    """What is known of one partition; None is what cannot be known just now.

    `end_offset` is after the last message that can be consumed, `messages` wait before it, and the first of them has
    waited for `seconds` at most. `held` messages follow it that cannot be consumed until a transaction ends.
    """

    partition: int
    next_offset: int | None
    end_offset: int | None
    messages: int | None
    seconds: float | None
    held: int | None = None


def lag_messages(position: Position | None, end_offset: int | None) -> int | None:
    """Return how many offsets wait to be consumed; None when either end is unknown.

    A topic that ends before the consumed position is not the one that was consumed: nothing is known of it either.
    """
    if position is None or end_offset is None or end_offset < position.next_offset:
        return None
    return end_offset - position.next_offset


def plausible(timestamp_ms: int | None, seen_s: float | None) -> int | None:
    """Return a timestamp that can be true of a record that was seen at `seen_s` (s since the epoch), else None."""
    if timestamp_ms is None or timestamp_ms < 0 or seen_s is None:
        return None
    return timestamp_ms if timestamp_ms <= (seen_s + CLOCK_TOLERANCE_S) * 1000 else None


def age_s(now_s: float, *timestamps_ms: int | None) -> float | None:
    """Return how old a record is at most, by its own timestamp and those of records before it.

    They are plausible ones, or None. Without any the age is unknown: None.
    """
    known = [timestamp for timestamp in timestamps_ms if timestamp is not None]
    return max(0.0, now_s - max(known) / 1000) if known else None


def lag_seconds(
    messages: int | None, position: Position | None, first_timestamp: int | None, now_s: float
) -> float | None:
    """Return for how long, at most, the first of the waiting messages has waited; None when nothing tells.

    `first_timestamp` is its own, a plausible one; what was consumed just before it came before it.
    """
    if not messages:
        return None if messages is None else 0.0
    before = None if position is None else plausible(position.last_timestamp, position.consumed_s)
    return age_s(now_s, first_timestamp, before)


def measure(
    positions: Mapping[int, Position],
    ends: Mapping[int, int | None],
    firsts: Mapping[int, int | None],
    highs: Mapping[int, int | None],
    now_s: float,
) -> list[Lag]:
    """Return the lag of every partition that PostgreSQL or Kafka knows of, by partition.

    `ends` and `highs` are where each partition ends without and with what open transactions hold back; `firsts` are
    the plausible timestamps of the messages that wait first: a partition that is not in it was not asked, and of its
    age nothing is known. The positions have to be read before the ends: else what was consumed between looks like a
    topic that is too short.
    """
    lags = []
    for partition in sorted({*positions, *ends}):
        position, end = positions.get(partition), ends.get(partition)
        messages = lag_messages(position, end)
        known = not messages or partition in firsts
        seconds = lag_seconds(messages, position, firsts.get(partition), now_s) if known else None
        next_offset = None if position is None else position.next_offset
        lags.append(Lag(partition, next_offset, end, messages, seconds, held_messages(end, highs.get(partition))))
    return lags


def held_messages(end: int | None, high: int | None) -> int | None:
    """Return how many messages open transactions hold back: those between the two ends, the first asked for later."""
    return None if end is None or high is None else max(0, high - end)
