"""The routes that pause and resume consumption. Both need the admin token."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError
from msgspec import Meta, Struct

from engine.postgres.errors import ERRORS
from engine.postgres.pauses import EVERY, EverythingPaused, WorkersTooOld, pause, resume
from engine.records import HIGHEST_PARTITION
from lookup.operations.checks import connection_of
from lookup.operations.pauses import render_pauses
from lookup.serving import events
from lookup.serving.admin import ADMIN
from lookup.serving.admission import RETRY_AFTER_S
from lookup.serving.answers import json_answer
from lookup.serving.bodies import read_body
from lookup.serving.query_parameters import WrongParameter
from lookup.serving.refusal import Refused
from lookup.serving.store_reader import StoresUnavailable

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool

MAX_BODY_BYTES = 1024
BODY_DEADLINE_S = 5.0
_PARTITION_RULE = "a partition of the topic; without it, everything"

log = structlog.get_logger()


class PauseOrder(Struct, forbid_unknown_fields=True):
    """The body of both routes: a partition, or nothing."""

    partition: Annotated[int | None, Meta(description=_PARTITION_RULE)] = None


class Pausing:
    """Pauses and resumes the consumer group. `partitions` returns the partitions of the topic, from Kafka."""

    def __init__(
        self,
        pool: "Pool",
        topic: str,
        group: str,
        partitions: Callable[[], Awaitable[Collection[int]]],
        deadline_s: float,
    ) -> None:
        self._pool = pool
        self._consumer = (group, topic)
        self._partitions = partitions
        self._deadline_s = deadline_s

    async def pause(self, partition: int | None, by: str) -> dict[str, Any]:
        """Pause a partition, or everything. Returns all pauses, and whether this one is new.

        Raises `WrongParameter` for an unknown partition, `Refused` while workers of an older build run or Kafka does
        not answer, and `StoresUnavailable`.
        """
        if partition is not None:
            await self._check(partition)
        wanted = EVERY if partition is None else partition
        try:
            async with self._connection() as connection:
                pauses, is_new = await pause(connection, *self._consumer, wanted, by)
        except WorkersTooOld as error:
            raise Refused("workers_too_old", 409, workers=error.workers) from None
        log.warning(events.PAUSE_PLACED, topic=self._consumer[1], partition=partition, by=by, new=is_new)
        return {"new": is_new, "pauses": render_pauses(pauses)}

    async def resume(self, partition: int | None, by: str) -> dict[str, Any]:
        """End the pause of a partition, or all pauses. Returns the ended pauses, and those that are left.

        Raises `Refused` for one partition while everything is paused, and `StoresUnavailable`.
        """
        if partition is not None and not 0 <= partition <= HIGHEST_PARTITION:
            raise WrongParameter("partition", _PARTITION_RULE)
        wanted = EVERY if partition is None else partition
        try:
            async with self._connection() as connection:
                ended, left = await resume(connection, *self._consumer, wanted)
        except EverythingPaused:
            raise Refused("everything_is_paused", 409, allowed="no partition: that ends all pauses") from None
        log.warning(events.PAUSE_ENDED, topic=self._consumer[1], partition=partition, by=by, ended=len(ended))
        return {"ended": render_pauses(ended), "pauses": render_pauses(left)}

    @asynccontextmanager
    async def _connection(self) -> "AsyncIterator[Connection]":
        """Provide a connection for one change, which is not tried again: it may have been made."""
        try:
            async with asyncio.timeout(self._deadline_s), connection_of(self._pool, self._deadline_s) as connection:
                yield connection
        except ERRORS:
            raise StoresUnavailable from None

    async def _check(self, partition: int) -> None:
        try:
            partitions = sorted(await self._partitions())
        except (KafkaError, OSError):
            raise Refused("unavailable", 503, headers={"Retry-After": str(RETRY_AFTER_S)}) from None
        if partition not in partitions:
            raise WrongParameter("partition", f"{_PARTITION_RULE}. The topic has {', '.join(map(str, partitions))}")


PAUSING = web.AppKey("pausing", Pausing)


async def post_pause(request: web.Request) -> web.Response:
    """Answer `POST /operations/pause`. It does not wait for what is in flight: the snapshot shows that."""
    order = await _body(request)
    return json_answer(await request.app[PAUSING].pause(order.partition, _caller(request)))


async def post_resume(request: web.Request) -> web.Response:
    """Answer `POST /operations/resume`."""
    order = await _body(request)
    return json_answer(await request.app[PAUSING].resume(order.partition, _caller(request)))


async def _body(request: web.Request) -> PauseOrder:
    request.app[ADMIN].check(request)
    return await read_body(request, PauseOrder, max_bytes=MAX_BODY_BYTES, deadline_s=BODY_DEADLINE_S)


def _caller(request: web.Request) -> str:
    # Behind a proxy this is the proxy. A forwarded address may be forged, so it is not used.
    return f"HTTP from {request.remote or 'unknown'}"


def add_pause_routes(application: web.Application) -> None:
    """Add the routes."""
    application.router.add_post("/operations/pause", post_pause)
    application.router.add_post("/operations/resume", post_resume)
