"""The pause of an engaged brake. It is stored in PostgreSQL, so an operator on any machine can see it and end it.

Each pause has a row in `brakes`. Deleting the row ends the pause. Otherwise it ends after its time, or when the worker
stops. The worker updates `seen_at` each time it checks its row. If `seen_at` is older than `LEASE_S` seconds, the
worker is dead and the row does not count.
"""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import structlog
from asyncpg import Connection

from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.postgres.bookkeeping import local_transaction
from engine.postgres.errors import describe, is_outage
from engine.postgres.link import Link
from engine.stages.brake import Brake
from engine.telemetry import events

CHECK_S = 1.0
LEASE_S = 5.0
DEADLINE_S = 5.0
END_S = 2.0
"""How long storing the end of a pause may take. A worker that stops has little time."""
_ENGAGE = """
INSERT INTO brakes (brake_id, consumer_group, topic, worker, host, supervisor, until, rejected, messages)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7), $8, $9)
ON CONFLICT (brake_id) DO NOTHING
"""
_CHECK = """
WITH marked AS (UPDATE brakes SET seen_at = clock_timestamp() WHERE brake_id = $1 RETURNING brake_id)
SELECT EXISTS (SELECT FROM marked)
"""
# The row of a worker that died in a pause is deleted when a later pause ends.
_END = "DELETE FROM brakes WHERE brake_id = $1 OR until < clock_timestamp() - interval '1 hour'"
_COUNTS = f"until > clock_timestamp() AND seen_at > clock_timestamp() - make_interval(secs => {LEASE_S})"
_ENGAGED = f"""
SELECT worker, host, supervisor, engaged_at, until, rejected, messages FROM brakes
WHERE consumer_group = $1 AND topic = $2 AND {_COUNTS} ORDER BY host, supervisor, worker, engaged_at
"""
_RELEASE = f"DELETE FROM brakes WHERE consumer_group = $1 AND topic = $2 RETURNING {_COUNTS} AS engaged"


async def engaged_brakes(connection: Connection, group: str, topic: str) -> list[Any]:
    """Return a row for each paused worker: worker, host, supervisor, engaged_at, until, rejected, messages."""
    return await connection.fetch(_ENGAGED, group, topic)


async def release_brakes(connection: Connection, group: str, topic: str) -> int:
    """End all pauses of the group. The workers continue within a second. Returns the number of pauses."""
    async with local_transaction(connection):
        rows = await connection.fetch(_RELEASE, group, topic)
    return sum(row["engaged"] for row in rows)


class BrakePause:
    """Pauses the worker while its brake is engaged. Two stages may wait for the same pause."""

    def __init__(self, identity: Identity, brake: Brake, link: Link, status: Status) -> None:
        self._identity = identity
        self._brake = brake
        self._link = link
        self._status = status
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger()

    async def hold(self, stop: asyncio.Event) -> None:
        """While the brake is engaged, wait until the pause's time is over, an operator ends it, or `stop` is set.

        In the first two cases the brake is released. During an outage of PostgreSQL an operator cannot end the pause.
        """
        async with self._lock:
            if self._brake.engaged and not stop.is_set():
                await self._hold(stop)

    async def _hold(self, stop: asyncio.Event) -> None:
        limits = self._brake.limits
        self._status.braked = True
        self._log.error(
            events.BRAKE_ENGAGED,
            topic=self._identity.topic,
            rejected=self._brake.rejected,
            messages=limits.window,
            pause_s=limits.pause_s,
            fix="orderflow dlq list, then orderflow brake release",
        )
        try:
            ended_by = await self._until_ended(stop, uuid4())
        finally:
            self._status.braked = False
        if ended_by != "stop":
            self._brake.release()
        self._log.warning(events.BRAKE_RELEASED, topic=self._identity.topic, by=ended_by)

    async def _until_ended(self, stop: asyncio.Event, brake_id: UUID) -> str:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._brake.limits.pause_s
        stored = False
        try:
            while (left := deadline - loop.time()) > 0:
                if not stored:
                    stored = await self._engage(brake_id, left)
                elif not await self._is_engaged(brake_id):
                    return "operator"
                try:
                    async with asyncio.timeout(min(CHECK_S, left)):
                        await stop.wait()
                except TimeoutError:
                    continue
                return "stop"
            return "time"
        finally:
            await self._end(brake_id)

    async def _engage(self, brake_id: UUID, left_s: float) -> bool:
        identity, limits = self._identity, self._brake.limits
        worker = (identity.group, identity.topic, identity.worker, identity.host, identity.supervisor)
        row = (brake_id, *worker, left_s, self._brake.rejected, limits.window)
        return await self._run("engage", lambda connection: connection.execute(_ENGAGE, *row)) is not None

    async def _is_engaged(self, brake_id: UUID) -> bool:
        """Update the row, and return whether it still exists. Returns true if PostgreSQL cannot be asked."""
        return await self._run("look", lambda connection: connection.fetchval(_CHECK, brake_id)) is not False

    async def _end(self, brake_id: UUID) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._run("lift", lambda connection: connection.execute(_END, brake_id))

    async def _run(self, what: str, work: Any) -> Any:
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._link.use() as connection,
                local_transaction(connection),
            ):
                return await work(connection)
        except Exception as error:
            if not is_outage(error):
                raise
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", step=f"brake-{what}", error=describe(error))
            return None
