"""The lag of each partition, in messages and in seconds. Pure: time is an argument.

A producer may give a record any timestamp, or none. So the age of a record is computed from its own timestamp and those
of earlier records: it cannot be older than any of them. A timestamp that is missing or in the future is ignored.
"""

from collections.abc import Mapping

import attrs

CLOCK_TOLERANCE_S = 5.0
"""A timestamp may be this far in the future, because the clocks of machines differ."""


@attrs.frozen
class Position:
    """The consumed position of a partition.

    `last_timestamp` is that of the last consumed record, in milliseconds since the epoch. `consumed_s` is when the
    position was stored, in seconds since the epoch.
    """

    next_offset: int
    last_timestamp: int | None = None
    consumed_s: float | None = None


@attrs.frozen
class Lag:
    """The lag of one partition. A value that is not known at the moment is None.

    `end_offset` is the offset after the last message that can be consumed (the last stable offset). `messages` is the
    number of messages that wait before it. The first of them has waited for at most `seconds`. `held` is the number of
    messages after it that cannot be consumed until a transaction ends.
    """

    partition: int
    next_offset: int | None
    end_offset: int | None
    messages: int | None
    seconds: float | None
    held: int | None = None


def lag_messages(position: Position | None, end_offset: int | None) -> int | None:
    """Return the number of offsets that wait to be consumed. None if the position or the end is not known.

    If the topic ends before the consumed position, it was deleted and created again: then the lag is not known either.
    """
    if position is None or end_offset is None or end_offset < position.next_offset:
        return None
    return end_offset - position.next_offset


def plausible(timestamp_ms: int | None, seen_s: float | None) -> int | None:
    """Return the timestamp if it is plausible for a record that was read at `seen_s` (s since the epoch), else None."""
    if timestamp_ms is None or timestamp_ms < 0 or seen_s is None:
        return None
    return timestamp_ms if timestamp_ms <= (seen_s + CLOCK_TOLERANCE_S) * 1000 else None


def age_s(now_s: float, *timestamps_ms: int | None) -> float | None:
    """Return the maximum age of a record in seconds, from its own timestamp and those of earlier records.

    The timestamps are plausible ones or None. The age is None if all of them are None.
    """
    known = [timestamp for timestamp in timestamps_ms if timestamp is not None]
    return max(0.0, now_s - max(known) / 1000) if known else None


def lag_seconds(
    messages: int | None, position: Position | None, first_timestamp: int | None, now_s: float
) -> float | None:
    """Return for how many seconds, at most, the first waiting message has waited. None if this is not known.

    `first_timestamp` is the plausible timestamp of that message. The last consumed record is an earlier one.
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
    """Return the lag of every partition that PostgreSQL or Kafka knows, sorted by partition.

    `ends` and `highs` are the end offsets without and with the messages of open transactions (last stable offset and
    high watermark). `firsts` are the plausible timestamps of the first waiting messages. For a partition that is not in
    `firsts` the age is not known. The positions must be read before the ends: otherwise records that are consumed in
    between make the topic look too short.
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
    """Return the number of messages in open transactions: those between the two ends. `high` must be read first."""
    return None if end is None or high is None else max(0, high - end)
