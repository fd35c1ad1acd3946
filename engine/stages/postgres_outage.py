"""Waits until PostgreSQL can write a batch, and reports the outage in the log and in the worker's status."""

import asyncio
import random
from itertools import islice
from typing import Any

import asyncpg
import structlog

from engine.actors.backoff import Backoff
from engine.actors.status import Status
from engine.postgres.errors import describe, describe_refusal, is_momentary, is_outage, needs_setup, refuses_data
from engine.postgres.link import Link
from engine.postgres.setup import explain_setup
from engine.stages.work import Work
from engine.telemetry import events

MOMENTARY_TRIES = 10
MOMENTARY_S = 10.0
"""How long errors may count as momentary: waiting for a lock takes seconds each time."""
EXPLAIN_S = 5.0
PROBE_S, LATER_PROBE_S = 3.0, 10.0
"""The longest time between two questions whether PostgreSQL answers, at first and where tries fail although it does.

The shortest is half of it: so the workers do not all ask, and go on, at the same time.
"""
PROBE_ANSWER_S = 5.0
MAX_PARTITIONS_REPORTED = 20


class Refused(Exception):
    """PostgreSQL refused the data of a batch. The error text contains no data."""


class PostgresOutage:
    """One outage, from the first failed try to write a batch until one succeeds.

    The delay between tries grows, but a PostgreSQL that did not answer, and does now, ends it. After that, tries are
    delayed by how often they have failed although it answers: a full disk, a read-only server, a crash that they cause.
    """

    def __init__(self, topic: str, link: Link, status: Status, backoff: Backoff) -> None:
        self._topic = topic
        self._link = link
        self._status = status
        self._backoff = backoff
        self._momentary = 0
        self._momentary_since_s = 0.0
        self._tries = 0
        self._answers = False
        """Whether PostgreSQL answered when it was last asked."""
        self._in_vain = 0
        """How many tries have failed since then although it had answered."""
        self._crashes = 0
        """How many of the last tries have lost the connection although it had answered: they may be the cause."""
        self._log = structlog.get_logger()

    async def wait_or_raise(self, error: Exception, work: Work[Any]) -> None:
        """Return when it is time to try again. Raises `Refused`, or the error if another try cannot succeed."""
        if refuses_data(error):
            raise Refused(describe_refusal(error)) from None
        if not is_outage(error):
            raise error
        if is_momentary(error) and self._is_short():
            await pause_briefly()
            return
        await self.wait_out(error, work)

    def _is_short(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if not self._momentary:
            self._momentary_since_s = now_s
        self._momentary += 1
        return self._momentary <= MOMENTARY_TRIES and now_s - self._momentary_since_s < MOMENTARY_S

    async def wait_out(self, error: Exception, work: Work[Any]) -> None:
        """Report that one more try of the same batch has failed, and wait until the next one."""
        self._tries += 1
        self._in_vain += self._answers
        self._crashes = self._crashes + self._answers if _is_lost(error) else 0
        setup = await self._explain(error) if needs_setup(error) else None
        chance = random.random()
        delay_s = self._backoff.delay_s(self._tries, chance)
        offsets = dict(islice(work.offsets().items(), MAX_PARTITIONS_REPORTED))
        waiting = {"topic": self._topic, "offsets": {str(partition): ends for partition, ends in offsets.items()}}
        told = waiting if setup is None else {**waiting, "setup": setup}
        self._status.outage("postgres", self._tries)
        self._status.waiting_batch = {**told, "error": describe(error)}
        event = events.OUTAGE_STARTED if self._tries == 1 else events.OUTAGE_CONTINUES
        self._log.warning(
            event, of="postgres", error=describe(error), tries=self._tries, next_try_s=round(delay_s, 2), **told
        )
        await self._sleep(delay_s, chance)

    async def _sleep(self, delay_s: float, chance: float) -> None:
        """Sleep for `delay_s` seconds, or until PostgreSQL answers and the tries that failed all the same allow it."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while (left_s := began_s + delay_s - loop.time()) > 0:
            pause_s = (LATER_PROBE_S if self._in_vain > 1 else PROBE_S) * random.uniform(0.5, 1)
            await asyncio.sleep(min(left_s, pause_s))
            if left_s <= pause_s:
                return
            self._answers = await self._probe()
            if not self._answers:
                self._in_vain = self._crashes
            elif not self._in_vain or loop.time() - began_s >= self._backoff.delay_s(self._in_vain, chance):
                return

    async def _probe(self) -> bool:
        """Return whether PostgreSQL lets a new session in and answers it."""
        try:
            async with asyncio.timeout(PROBE_ANSWER_S), self._link.use() as connection:
                await connection.execute("SELECT 1", timeout=PROBE_ANSWER_S)
                # The next try begins a session of its own: what ends an outage may hold for new sessions only.
                self._link.drop()
        except Exception as error:
            if not is_outage(error):
                raise
            return False
        return True

    async def _explain(self, error: Exception) -> str:
        try:
            async with asyncio.timeout(EXPLAIN_S), self._link.use() as connection:
                return await explain_setup(connection, error)
        except Exception as trouble:
            if not is_outage(trouble):
                raise
            return describe_refusal(error)

    def give_up(self) -> None:
        """Record that the batch is no longer tried, because its partitions have another owner."""
        self._tries = self._momentary = self._in_vain = self._crashes = 0
        self._answers = False
        self._status.waiting_batch = None

    def over(self) -> None:
        """Record that a batch was written."""
        tries = self._tries
        self.give_up()
        if self._status.recovered("postgres"):
            self._log.info(events.OUTAGE_ENDED, of="postgres", tries=tries)


async def pause_briefly() -> None:
    """Wait for some milliseconds, so that two transactions that disturb each other do not go on doing so."""
    await asyncio.sleep(random.uniform(0.005, 0.05))


def _is_lost(error: Exception) -> bool:
    """Return whether the server gave no answer of its own: it may have crashed, or be shutting down."""
    return not isinstance(error, asyncpg.PostgresError) or isinstance(
        error, (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
    )
