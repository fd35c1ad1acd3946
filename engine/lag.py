"""How far behind each partition is: in messages, and in seconds. Pure: time is an argument."""

from collections.abc import Mapping

import attrs


@attrs.frozen
class Position:
    """How far a partition is consumed, and when (ms since the epoch) the last consumed record was produced."""

    next_offset: int
    last_timestamp: int | None = None


@attrs.frozen
class Lag:
    """What is known of one partition. `messages` and `seconds` are None where it cannot be known just now."""

    partition: int
    next_offset: int | None
    end_offset: int | None
    messages: int | None
    seconds: float | None


def lag_messages(position: Position | None, end_offset: int | None) -> int | None:
    """Return how many offsets wait to be consumed; None when either end is unknown.

    A topic that ends before the consumed position is not the one that was consumed: nothing is known of it either.
    """
    if position is None or end_offset is None or end_offset < position.next_offset:
        return None
    return end_offset - position.next_offset


def lag_seconds(messages: int | None, last_timestamp: int | None, clear_s: float | None, now_s: float) -> float | None:
    """Return for how long, at most, the oldest of the waiting messages has waited; None when nothing tells.

    It was produced after the last consumed record (`last_timestamp`, ms), and after the last moment without lag
    (`clear_s`): the later of both counts, so that a message after a quiet hour is not an hour late.
    """
    if not messages:
        return None if messages is None else 0.0
    earliest = [clear_s, None if last_timestamp is None else last_timestamp / 1000]
    since_s = max((moment for moment in earliest if moment is not None), default=None)
    return None if since_s is None else max(0.0, now_s - since_s)


class LagMeter:
    """Measures again and again, and remembers when it last saw each partition without lag."""

    def __init__(self) -> None:
        self._clear_s: dict[int, float] = {}

    def measure(self, positions: Mapping[int, Position], ends: Mapping[int, int] | None, now_s: float) -> list[Lag]:
        """Return the lag of every partition that PostgreSQL or Kafka knows of, by partition.

        `ends` are Kafka's end offsets, None while Kafka is away; `now_s` is in seconds since the epoch. The positions
        have to be read before the ends: else what was consumed between looks like a topic that is too short.
        """
        ends = ends or {}
        return [self._one(partition, positions, ends, now_s) for partition in sorted({*positions, *ends})]

    def _one(self, partition: int, positions: Mapping[int, Position], ends: Mapping[int, int], now_s: float) -> Lag:
        position, end_offset = positions.get(partition), ends.get(partition)
        messages = lag_messages(position, end_offset)
        if messages == 0:
            self._clear_s[partition] = now_s
        last_timestamp = None if position is None else position.last_timestamp
        seconds = lag_seconds(messages, last_timestamp, self._clear_s.get(partition), now_s)
        return Lag(partition, None if position is None else position.next_offset, end_offset, messages, seconds)
