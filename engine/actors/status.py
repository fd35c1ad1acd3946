"""The status of a worker, which its heartbeat reports: its state, its current step, and its counters."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import attrs

SIDE_SERVICES = frozenset({"redis", "dlq"})
"""The services without which the worker still consumes messages: their outages do not change its state."""


class State(StrEnum):
    """The states of a worker. It may stay in any of them. `OUTAGE` and `BRAKED` count as unhealthy.

    `RETRYING` means the first tries of an outage: most outages end before an operator has to know of them. `PAUSED`
    means that an operator has paused all its partitions, and that no batch is being written now.
    """

    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    RETRYING = "retrying"
    OUTAGE = "outage"
    BRAKED = "braked"
    PAUSED = "paused"
    DRAINING = "draining"


@attrs.define
class Counters:
    """What a worker has done since it started."""

    messages: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    batches: int = 0
    fenced: int = 0
    outages: int = 0
    cached: int = 0


@attrs.define
class Step:
    """A piece of work with a deadline. After the deadline the worker counts as stuck."""

    name: str
    started_s: float
    deadline_s: float

    def overdue_s(self, now_s: float) -> float:
        """Return how many seconds ago the deadline passed. 0 before the deadline."""
        return max(0.0, now_s - self.started_s - self.deadline_s)


class Status:
    """The status that a worker reports. After `max_retries` failed tries an outage makes the worker unhealthy.

    `beat_now` is an event: when it is set, the next heartbeat is sent at once. `waiting_batch` is the batch that waits
    for PostgreSQL: its topic, its offsets by partition, the error, and what must be set up. None if none waits.
    """

    def __init__(self, max_retries: int = 5) -> None:
        self._max_retries = max_retries
        self.counters = Counters()
        self.committed_s: float | None = None
        self.steps: dict[str, Step] = {}
        self.outages: dict[str, int] = {}
        self.draining = False
        self.braked = False
        self.paused = False
        self.started = False
        self.member_id: str | None = None
        self.waiting_batch: Mapping[str, Any] | None = None
        self.beat_now = asyncio.Event()

    @contextmanager
    def step(self, name: str, deadline_s: float) -> Iterator[None]:
        """Report, while the context is open, a step that must end within `deadline_s` seconds."""
        self.steps[name] = Step(name, time.monotonic(), deadline_s)
        try:
            yield
        finally:
            self.steps.pop(name, None)

    def joined_as(self, member_id: str | None) -> None:
        """Set the worker's member id in the consumer group, None after it has left. Sends a heartbeat at once."""
        if member_id != self.member_id:
            self.member_id = member_id
            self.beat_now.set()

    def committed(self) -> None:
        """Record that a batch was committed now."""
        self.committed_s = time.monotonic()

    def outage(self, of: str, attempt: int) -> None:
        """Record that the last `attempt` tries to use the service `of` (postgres, kafka, redis, dlq) have failed."""
        if of not in self.outages:
            self.counters.outages += 1
        self.outages[of] = attempt

    def recovered(self, of: str) -> bool:
        """Record that the service `of` works. Returns whether this ends an outage."""
        return self.outages.pop(of, None) is not None

    @property
    def state(self) -> State:
        """The current state."""
        if self.draining:
            return State.DRAINING
        if tries := max((tries for of, tries in self.outages.items() if of not in SIDE_SERVICES), default=0):
            return State.OUTAGE if tries >= self._max_retries else State.RETRYING
        if self.braked:
            return State.BRAKED
        if not self.started:
            return State.STARTING
        if self.steps:
            return State.RUNNING
        return State.PAUSED if self.paused else State.IDLE

    def overdue(self, now_s: float) -> Step | None:
        """Return a step whose deadline has passed, or None."""
        return next((step for step in self.steps.values() if step.overdue_s(now_s) > 0), None)
