"""Removes dead workers from their consumer group at once, so that the group need not wait for the session timeout.

Only for members whose process has ended: a live member that is removed loses its partitions for a while.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from engine.actors.cancelling import cancel
from engine.kafka.brokers import TROUBLE, Brokers
from engine.telemetry import events

DEADLINE_S = 3.0
"""After so many seconds the session timeout removes the member anyway."""
RETRY_S = 0.1
CLOSE_S = 1.0
_PURPOSE = "leave"


class MemberRemoval:
    """Sends LeaveGroup requests for dead members of one group. The connection is opened in advance.

    `kafka_options` are keyword arguments of every aiokafka client. Needs the permission READ on the group, as members
    do.
    """

    def __init__(self, kafka_options: dict[str, Any], group: str) -> None:
        self._brokers = Brokers({**kafka_options, "client_id": "orderflow-supervisor"})
        self._group = group
        self._coordinator: int | None = None
        self._send_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def connect(self) -> None:
        """Start to connect. A failure is not reported: the first removal tries again."""
        self._start(self._connect_ahead(), "member-removal-connect")

    def remove(self, member_id: str, worker: str) -> None:
        """Start to remove a dead member. Returns at once. The result is logged."""
        self._start(self._remove(member_id, worker), f"member-removal-{worker}")

    async def close(self) -> None:
        """Wait up to `CLOSE_S` seconds for running removals, and close the connections."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            await cancel(*late)
        await self._brokers.close()

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_ahead(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(DEADLINE_S), self._send_lock:
                await self._find_coordinator()

    async def _remove(self, member_id: str, worker: str) -> None:
        begun_s = time.monotonic()
        tries, failure = 0, "TimeoutError"
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    tries += 1
                    try:
                        async with self._send_lock:
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
        """Send LeaveGroup. A member that the group does not know has already left. Raises as `Brokers.send` does."""
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
        """Find the coordinator of the group, connect to it, and return its broker id."""
        await self._brokers.refresh()
        coordinator = await self._brokers.coordinator(self._group)
        await self._brokers.connect(coordinator, _PURPOSE)
        self._coordinator = coordinator
        return coordinator
