"""Takes workers that died out of their consumer group, so that nobody waits for the session timeout to miss them.

It is only for members that are certainly gone: whoever is removed alive loses its partitions for a while.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from engine import events
from engine.brokers import TROUBLE

DEADLINE_S = 3.0
"""After this long the session timeout does it."""
RETRY_S = 0.1
CLOSE_S = 1.0


class MemberRemoval:
    """Sends LeaveGroup for dead members of one group, through a client that is connected ahead.

    `kafka_options` are keyword arguments of every aiokafka client. Needs the right READ on the group, as members do.
    """

    def __init__(self, kafka_options: dict[str, Any], group: str) -> None:
        self._options = kafka_options
        self._group = group
        self._client: AIOKafkaClient | None = None
        self._coordinator: Any = None
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
        """Wait a moment for removals that are under way, and close the client."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._disconnect()

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_ahead(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(DEADLINE_S), self._one_at_a_time:
                await self._connected()

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
        """Send LeaveGroup. A member that the group does not know has left already. After a failure all begins anew."""
        try:
            client = await self._connected()
            answer = await client.send(self._coordinator, LeaveGroupRequest(self._group, member_id))
            error = for_code(answer.error_code)
            if answer.error_code and error is not UnknownMemberIdError:
                raise error()
        except BaseException:
            await self._disconnect()
            raise

    async def _connected(self) -> AIOKafkaClient:
        """Return a client that has found the group's coordinator, and is connected to it."""
        if self._client is None:
            self._client = AIOKafkaClient(
                **self._options,
                client_id="orderflow-supervisor",
                # The longer one, so that our own deadline is what ends a slow answer.
                request_timeout_ms=int(DEADLINE_S * 2000),
            )
            try:
                await self._client.bootstrap()
                self._coordinator = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group)
                await self._client.ready(self._coordinator)
            except BaseException:
                await self._disconnect()
                raise
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(*TROUBLE):
                await client.close()
