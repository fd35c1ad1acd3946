"""What a worker is doing, for its heartbeat: the state it declares, the step it is in, and its counters."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import attrs

SIDE_SERVICES = frozenset({"redis", "dlq"})
"""What ingest goes on without."""


class State(StrEnum):
    """The states a worker declares. All are fine to stay in; `OUTAGE` and `BRAKED` are not well.

    `RETRYING` is an outage in its first tries: most are over before anybody has to be told.
    """

    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    RETRYING = "retrying"
    OUTAGE = "outage"
    BRAKED = "braked"
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
    """A piece of work with a deadline. Past the deadline the worker counts as stuck."""

    name: str
    started_s: float
    deadline_s: float

    def overdue_s(self, now_s: float) -> float:
        """Return by how many seconds the deadline has passed, or 0."""
        return max(0.0, now_s - self.started_s - self.deadline_s)


class Status:
    """The worker's own view of itself. From `max_retries` failed tries on, an outage counts as one for its health."""

    def __init__(self, max_retries: int = 5) -> None:
        self._max_retries = max_retries
        self.counters = Counters()
        self.committed_s: float | None = None
        self.steps: dict[str, Step] = {}
        self.outages: dict[str, int] = {}
        self.draining = False
        self.braked = False
        self.started = False
        self.member_id: str | None = None
        self.news = asyncio.Event()

    @contextmanager
    def step(self, name: str, deadline_s: float) -> Iterator[None]:
        """Declare a step that must end within `deadline_s` seconds."""
        self.steps[name] = Step(name, time.monotonic(), deadline_s)
        try:
            yield
        finally:
            self.steps.pop(name, None)

    def joined_as(self, member_id: str | None) -> None:
        """Declare under which member id the worker joins its group, None once it has left; told with a beat at once."""
        if member_id != self.member_id:
            self.member_id = member_id
            self.news.set()

    def committed(self) -> None:
        """Declare that a batch was committed just now."""
        self.committed_s = time.monotonic()

    def outage(self, of: str, attempt: int) -> None:
        """Declare that `of` (postgres, kafka, redis, dlq) has been failing for `attempt` tries."""
        if of not in self.outages:
            self.counters.outages += 1
        self.outages[of] = attempt

    def recovered(self, of: str) -> bool:
        """Declare that `of` works. Returns whether that ends an outage."""
        return self.outages.pop(of, None) is not None

    @property
    def state(self) -> State:
        """The state to declare now."""
        if self.draining:
            return State.DRAINING
        if tries := max((tries for of, tries in self.outages.items() if of not in SIDE_SERVICES), default=0):
            return State.OUTAGE if tries >= self._max_retries else State.RETRYING
        if self.braked:
            return State.BRAKED
        if not self.started:
            return State.STARTING
        return State.RUNNING if self.steps else State.IDLE

    def overdue(self, now_s: float) -> Step | None:
        """Return a step whose deadline has passed, if there is one."""
        return next((step for step in self.steps.values() if step.overdue_s(now_s) > 0), None)
