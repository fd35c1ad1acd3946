"""Takes workers that died out of their consumer group, so that nobody waits for the session timeout to miss them.

It is only for members that are certainly gone: whoever is removed alive loses its partitions for a while.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from engine.kafka.brokers import TROUBLE, Brokers
from engine.telemetry import events

DEADLINE_S = 3.0
"""After this long the session timeout does it."""
RETRY_S = 0.1
CLOSE_S = 1.0
_PURPOSE = "leave"


class MemberRemoval:
    """Sends LeaveGroup for dead members of one group, through a connection that is made ahead.

    `kafka_options` are keyword arguments of every aiokafka client. Needs the right READ on the group, as members do.
    """

    def __init__(self, kafka_options: dict[str, Any], group: str) -> None:
        self._brokers = Brokers({**kafka_options, "client_id": "orderflow-supervisor"})
        self._group = group
        self._coordinator: int | None = None
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def connect(self) -> None:
        """Begin to connect. While Kafka is away nothing is said: the first removal tries again."""
        self._start(self._connect_ahead(), "member-removal-connect")

    def remove(self, member_id: str, worker: str) -> None:
        """Begin to remove a member that is gone. Never waits; what became of it is a line in the log."""
        self._start(self._remove(member_id, worker), f"member-removal-{worker}")

    async def close(self) -> None:
        """Wait a moment for removals that are under way, and close the connections."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._brokers.close()

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_ahead(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(DEADLINE_S), self._one_at_a_time:
                await self._find_coordinator()

    async def _remove(self, member_id: str, worker: str) -> None:
        begun_s = time.monotonic()
        tries, failure = 0, "TimeoutError"
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    tries += 1
                    try:
                        async with self._one_at_a_time:
                            await self._send(member_id)
                    except TROUBLE as error:
                        failure = type(error).__name__
                        await asyncio.sleep(RETRY_S)
                    else:
                        took_ms = round((time.monotonic() - begun_s) * 1000, 1)
                        self._log.info(events.MEMBER_REMOVED, worker=worker, member_id=member_id, took_ms=took_ms)
                        return
        self._log.warning(events.MEMBER_NOT_REMOVED, worker=worker, member_id=member_id, error=failure, tries=tries)

    async def _send(self, member_id: str) -> None:
        """Send LeaveGroup. A member that the group does not know has left already. Raises as `Brokers.send` does."""
        coordinator = self._coordinator if self._coordinator is not None else await self._find_coordinator()
        try:
            answer = await self._brokers.send(coordinator, LeaveGroupRequest(self._group, member_id), _PURPOSE)
            error = for_code(answer.error_code)
            if answer.error_code and error is not UnknownMemberIdError:
                raise error()
        except BaseException:
            self._coordinator = None
            raise

    async def _find_coordinator(self) -> int:
        """Return the group's coordinator, and be connected to it."""
        await self._brokers.refresh()
        found = await self._brokers.coordinator(self._group)
        await self._brokers.connect(found, _PURPOSE)
        self._coordinator = found
        return found
