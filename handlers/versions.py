"""Which message of an order wins, and what that means for what is stored. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import attrs

from engine.records import Origin
from engine.telemetry.trace_context import Traceparent

T = TypeVar("T")
_TICK = timedelta(microseconds=1)
UNKNOWN_TOPIC = ""
"""What no topic is called: an origin's, where nobody can tell which topic it was."""


def supersedes(new: Origin, old: Origin) -> bool:
    """Whether a message at `new` replaces the version from `old`.

    Within a partition the later offset wins. Across partitions, topics, or generations of a topic the later timestamp
    does; none is the oldest. On a tie the higher epoch does, then topic, then partition: every worker decides alike.
    """
    if new.partition == old.partition and new.epoch == old.epoch and new.topic == old.topic:
        return new.offset > old.offset
    return (new.timestamp, new.epoch, new.topic, new.partition) > (
        old.timestamp,
        old.epoch,
        old.topic,
        old.partition,
    )


@attrs.frozen
class Candidate(Generic[T]):
    """A version that wants to be stored: its order's uid, its source, the digest of its content, and the order.

    `traceparent` is that of its message, None where that named none.
    """

    uid: str
    source: Origin
    digest: bytes
    order: T
    traceparent: Traceparent | None = None


@attrs.frozen
class Stored:
    """What PostgreSQL holds of an order, as far as the decision needs it."""

    source: Origin
    digest: bytes
    created_at: datetime
    updated_at: datetime


@attrs.frozen
class Write(Generic[T]):
    """A version to be stored with these timestamps."""

    candidate: Candidate[T]
    created_at: datetime
    updated_at: datetime


@attrs.define
class WritePlan(Generic[T]):
    """What to do with a batch. Every list is sorted by uid, so that two writers cannot deadlock.

    `unchanged` hold the same content as what is stored but come from a later message: only their source moves. `stale`
    lost to what is stored and leave no trace there.
    """

    inserts: list[Write[T]] = attrs.field(factory=list)
    changes: list[Write[T]] = attrs.field(factory=list)
    unchanged: list[Candidate[T]] = attrs.field(factory=list)
    stale: list[Candidate[T]] = attrs.field(factory=list)


def latest_of_each(
    candidates: Iterable[Candidate[T]], stored: Mapping[str, Stored] | None = None
) -> list[Candidate[T]]:
    """Return the last version of each uid, sorted by uid, as if each had been stored in turn.

    A version that wins keeps the latest time of those before it: a producer whose clock goes back must not make room
    for an older message of another partition or topic.
    """
    present: dict[str, Origin] = {uid: known.source for uid, known in (stored or {}).items()}
    latest: dict[str, Candidate[T]] = {}
    for candidate in candidates:
        before = present.get(candidate.uid)
        if before is None:
            winner = candidate
        elif supersedes(candidate.source, before):
            time = max(candidate.source.timestamp, before.timestamp)
            winner = attrs.evolve(candidate, source=attrs.evolve(candidate.source, timestamp=time))
        else:
            latest.setdefault(candidate.uid, candidate)
            continue
        present[candidate.uid] = winner.source
        latest[candidate.uid] = winner
    return [latest[uid] for uid in sorted(latest)]


def plan_writes(latest: list[Candidate[T]], stored: Mapping[str, Stored], now: datetime) -> WritePlan[T]:
    """Decide what each version does to what is stored; `latest` is sorted and holds each uid once.

    A change keeps `created_at` and moves `updated_at` forward, even if this machine's clock is behind.
    """
    plan: WritePlan[T] = WritePlan()
    for candidate in latest:
        known = stored.get(candidate.uid)
        if known is None:
            plan.inserts.append(Write(candidate, now, now))
        elif not supersedes(candidate.source, known.source):
            plan.stale.append(candidate)
        elif candidate.digest == known.digest:
            plan.unchanged.append(candidate)
        else:
            plan.changes.append(Write(candidate, known.created_at, max(now, known.updated_at + _TICK)))
    return plan
