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
from engine.postgres.errors import ERRORS, describe, is_outage
from engine.postgres.link import Link
from engine.postgres.pauses import Pauses, fetch_pauses
from engine.telemetry import events

CHECK_S = 1.0
DEADLINE_S = 5.0


class PauseWatch:
    """Reads once a second what is paused, and calls `apply` with it. During an outage the last answer stays valid."""

    def __init__(self, identity: Identity, link: Link, apply: Callable[[Pauses], None]) -> None:
        self._identity = identity
        self._link = link
        self._apply = apply
        self._failing = False
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
                log = self._log.debug if self._failing else self._log.warning
                log(events.OUTAGE_CONTINUES, of="postgres", step="pauses", error=describe(error))
                self._failing = True
            else:
                self._failing = False
                self._apply(pauses)
            await asyncio.sleep(CHECK_S)


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
    def applied(self) -> list[int] | None:
        """The partitions of the pauses that this worker follows, -1 for everything. None until they are known."""
        return None if self._pauses is None else [pause.partition for pause in self._pauses]

    def apply(self, pauses: Pauses) -> bool:
        """Follow new pauses. Returns whether partitions are to be opened."""
        first, self._pauses = self._pauses is None, pauses
        return self.look() or first

    def look(self) -> bool:
        """Pause and resume the assigned partitions. Returns whether any was resumed."""
        if self._pauses is None:
            return False
        assigned, before = self._table.assigned, set(self._table.paused)
        held = {partition: pause for partition in assigned if (pause := self._pauses.of(partition)) is not None}
        by_pause: dict[tuple[str, str], list[int]] = {}
        for partition in held.keys() - before:
            state = self._fetcher.state(partition)
            self._table.pause(partition, 0 if state is None else state.emitted)
            self._fetcher.forget(partition)
            pause = held[partition]
            by_pause.setdefault((pause.paused_by, pause.paused_at.isoformat()), []).append(partition)
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
        return bool(resumed)
