"""Applies the pauses that an operator has placed in PostgreSQL to the partitions of this worker.

A paused partition is not fetched, and what was fetched but not passed on is dropped. What was passed on is written. On
resuming, the partition is opened anew: its offset is read from PostgreSQL again.
"""

import asyncio
from collections.abc import Callable

import structlog

from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.kafka.fetcher import Fetcher
from engine.kafka.partitions import PartitionTable
from engine.postgres.errors import ERRORS, describe, describe_refusal, is_outage, needs_setup
from engine.postgres.link import Link
from engine.postgres.pauses import Pauses, fetch_pauses
from engine.telemetry import events

CHECK_S = 1.0
DEADLINE_S = 5.0
TELL_EVERY = 30
"""How many tries, one a second, are reported once."""
_STEP = "pauses"


class PauseWatch:
    """Reads once a second what is paused, and calls `apply` with it. During an outage the last answer stays valid.

    Before the first answer nothing is consumed: then each failed try counts as an outage, also one that nothing but a
    change in the database ends, such as a missing permission on the table.
    """

    def __init__(self, identity: Identity, link: Link, status: Status, apply: Callable[[Pauses], None]) -> None:
        self._identity = identity
        self._link = link
        self._status = status
        self._apply = apply
        self._known = False
        self._tries = 0
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Read until cancelled. Raises errors that are not an outage of PostgreSQL."""
        while True:
            try:
                async with asyncio.timeout(DEADLINE_S), self._link.use() as connection:
                    pauses = await fetch_pauses(connection, self._identity.group, self._identity.topic)
            except ERRORS as error:
                if not is_outage(error):
                    raise
                self._failed(error)
            else:
                self._succeeded()
                self._apply(pauses)
            await asyncio.sleep(CHECK_S)

    def _failed(self, error: Exception) -> None:
        self._tries += 1
        setup = {"setup": f"pauses cannot be read: {describe_refusal(error)}"} if needs_setup(error) else {}
        if not self._known:
            self._status.outage(_STEP, self._tries)
            self._status.waiting_batch = {
                "topic": self._identity.topic,
                "offsets": {},
                "error": describe(error),
                **setup,
            }
        if self._tries % TELL_EVERY == 1:
            event = events.OUTAGE_STARTED if self._tries == 1 else events.OUTAGE_CONTINUES
            self._log.warning(
                event, of="postgres", step=_STEP, error=describe(error), tries=self._tries, known=self._known, **setup
            )

    def _succeeded(self) -> None:
        if not self._known:
            self._status.waiting_batch = None
        self._known = True
        self._status.recovered(_STEP)
        if self._tries:
            self._log.info(events.OUTAGE_ENDED, of="postgres", step=_STEP, tries=self._tries)
        self._tries = 0


class PartitionPauses:
    """Pauses and resumes the partitions of `table`. Until `apply` is called it is not known what may be fetched."""

    def __init__(self, topic: str, table: PartitionTable, fetcher: Fetcher, status: Status) -> None:
        self._topic = topic
        self._table = table
        self._fetcher = fetcher
        self._status = status
        self._pauses: Pauses | None = None
        self._log = structlog.get_logger()

    @property
    def known(self) -> bool:
        """Whether it is known what is paused."""
        return self._pauses is not None

    @property
    def followed(self) -> dict[str, str] | None:
        """The pauses that this worker follows, by partition, each with its `stamp`. None until they are known."""
        return None if self._pauses is None else {str(pause.partition): pause.stamp for pause in self._pauses}

    def apply(self, pauses: Pauses) -> list[int]:
        """Follow new pauses. Returns the partitions that are resumed, sorted."""
        self._pauses = pauses
        return self.look()

    def look(self) -> list[int]:
        """Pause and resume the assigned partitions. Returns those that are resumed, sorted."""
        if self._pauses is None:
            return []
        assigned, before = self._table.assigned, set(self._table.paused)
        held = {partition: pause for partition in assigned if (pause := self._pauses.of(partition)) is not None}
        by_pause: dict[tuple[str, str], list[int]] = {}
        for partition in held.keys() - before:
            state = self._fetcher.state(partition)
            self._table.pause(partition, 0 if state is None else state.emitted)
            self._fetcher.forget(partition)
            pause = held[partition]
            by_pause.setdefault((pause.paused_by, pause.stamp), []).append(partition)
        resumed = sorted(before - held.keys())
        for partition in resumed:
            self._table.resume(partition)
        self._status.paused = self._pauses.everything is not None or (bool(assigned) and len(held) == len(assigned))
        for (by, since), partitions in by_pause.items():
            self._log.warning(
                events.PARTITIONS_PAUSED, topic=self._topic, partitions=sorted(partitions), by=by, since=since
            )
        if resumed:
            self._log.warning(events.PARTITIONS_RESUMED, topic=self._topic, partitions=resumed)
        return resumed
