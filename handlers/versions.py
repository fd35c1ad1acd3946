"""Decides which message of an order wins, and what to write for it. No I/O."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import attrs
from msgspec import Struct
from msgspec.structs import replace

from engine.records import Origin
from engine.telemetry.trace_context import Traceparent

T = TypeVar("T")
_TICK = timedelta(microseconds=1)
UNKNOWN_TOPIC = ""
"""The topic of an origin whose topic is unknown. No real topic has this name."""


def supersedes(new: Origin, old: Origin) -> bool:
    """Return whether a message at `new` replaces the version from `old`.

    In the same partition the higher offset wins. Between partitions, topics or epochs of a topic the later timestamp
    wins, and a missing timestamp counts as the oldest. If timestamps are equal, the higher epoch wins, then the higher
    topic, then the higher partition. So every worker decides the same.
    """
    if new.partition == old.partition and new.epoch == old.epoch and new.topic == old.topic:
        return new.offset > old.offset
    return (new.timestamp, new.epoch, new.topic, new.partition) > (
        old.timestamp,
        old.epoch,
        old.topic,
        old.partition,
    )


class Candidate(Struct, Generic[T], frozen=True, gc=False):
    """A version of an order from a message: the uid, the source, the digest of the content, and the order.

    `traceparent` is from the message. None if the message had none.
    """

    uid: str
    source: Origin
    digest: bytes
    order: T
    traceparent: Traceparent | None = None


@attrs.frozen
class Stored:
    """The columns of a stored order that the decision needs."""

    source: Origin
    digest: bytes
    created_at: datetime
    updated_at: datetime


class Write(Struct, Generic[T], frozen=True, gc=False):
    """A version to store, with its timestamps."""

    candidate: Candidate[T]
    created_at: datetime
    updated_at: datetime


@attrs.define
class WritePlan(Generic[T]):
    """What to do with a batch. Every list is sorted by uid, so that two writers cannot deadlock.

    `unchanged` have the stored content, but come from a later message: only the source of the row is updated. `stale`
    are older than the stored version and are not written.
    """

    inserts: list[Write[T]] = attrs.field(factory=list)
    changes: list[Write[T]] = attrs.field(factory=list)
    unchanged: list[Candidate[T]] = attrs.field(factory=list)
    stale: list[Candidate[T]] = attrs.field(factory=list)

    def writes(self) -> list[Write[T]]:
        """Return the inserts and the changes, sorted by uid."""
        if not self.changes:
            return self.inserts
        return sorted(self.inserts + self.changes, key=lambda write: write.candidate.uid)


def latest_of_each(
    candidates: Iterable[Candidate[T]], stored: Mapping[str, Stored] | None = None
) -> list[Candidate[T]]:
    """Return the winning version of each uid, sorted by uid. The result is as if each version had been stored in turn.

    A winning version gets the latest timestamp of the versions before it. Otherwise, if a producer's clock goes back,
    an older message of another partition or topic could win.
    """
    present: dict[str, Origin] = {uid: known.source for uid, known in (stored or {}).items()}
    latest: dict[str, Candidate[T]] = {}
    for candidate in candidates:
        before = present.get(candidate.uid)
        if before is None:
            winner = candidate
        elif supersedes(candidate.source, before):
            time = max(candidate.source.timestamp, before.timestamp)
            winner = replace(candidate, source=replace(candidate.source, timestamp=time))
        else:
            latest.setdefault(candidate.uid, candidate)
            continue
        present[candidate.uid] = winner.source
        latest[candidate.uid] = winner
    return [latest[uid] for uid in sorted(latest)]


def plan_writes(latest: list[Candidate[T]], stored: Mapping[str, Stored], now: datetime) -> WritePlan[T]:
    """Decide for each version whether it is inserted, a change, unchanged or stale. `latest` has each uid once, sorted.

    A change keeps `created_at`. Its `updated_at` is always later than before, even if this machine's clock is behind.
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
