"""Runs another program that answers `GET /order/{uid}` from the same stores, to compare it with our server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import Any

import aiohttp
from msgspec import DecodeError, json

from bench.load import WrongAnswers
from bench.peer import command_words
from bench.programs import Program, program
from bench.testbed import Testbed, redis_url
from orderflow.start.settings import parse_settings
from tests.support.programs import RUN_MARK

PLACES = ("addr", "dsn", "redis", "redis_url")
_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=10)
_POLL_S = 0.05
_OK, _SERVER_ERROR = 200, 500
_OUR_OWN = frozenset({"created_at", "updated_at"})
"""Fields that are not part of the published order. A peer may leave them out."""


@asynccontextmanager
async def lookup_peer(
    testbed: Testbed, command: str, environment: Mapping[str, str], port: int, bodies: Mapping[str, bytes]
) -> AsyncIterator[Program]:
    """Run a program that listens on `port`. It is ready when it answers, and its answers equal the orders in `bodies`.

    `command` may contain placeholders such as `{addr}` (see `PLACES`). It reads the database of `environment`. Raises
    `ProgramFailed` and `WrongAnswers`.
    """
    settings = parse_settings(environment)
    places = {
        "addr": f"127.0.0.1:{port}",
        "dsn": settings.postgres_url(),
        "redis": str(settings.redis_address),
        "redis_url": redis_url(settings),
    }
    async with program(
        "lookup peer", command_words(command, places), {RUN_MARK: testbed.mark}, testbed.folder
    ) as running:
        await _until_it_answers(running, port)
        async with running.serving():
            await check_answers(port, bodies)
        yield running


async def _until_it_answers(peer: Program, port: int) -> None:
    deadline = monotonic() + _START_TIMEOUT_S
    while True:
        peer.check()
        with suppress(OSError, aiohttp.ClientError):
            status, _ = await _ask(port, "no-such-order")
            if status < _SERVER_ERROR:
                return
        if monotonic() > deadline:
            raise peer.failure(f"did not answer GET /order/… on its port within {_START_TIMEOUT_S:g} s")
        await asyncio.sleep(_POLL_S)


async def check_answers(port: int, bodies: Mapping[str, bytes]) -> None:
    """Raise `WrongAnswers` unless the server answers each order in `bodies` as it was published."""
    for uid, body in bodies.items():
        try:
            status, answer = await _ask(port, uid)
        except (OSError, aiohttp.ClientError) as error:
            raise WrongAnswers(f"no answer to GET /order/{uid}: {type(error).__name__}: {error}") from None
        if wrong := f"status {status}" if status != _OK else difference(answer, body):
            raise WrongAnswers(f"the answer to GET /order/{uid} is not the order: {wrong}")


async def _ask(port: int, uid: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(timeout=_ANSWER_TIMEOUT) as session,
        session.get(f"http://127.0.0.1:{port}/order/{uid}") as answer,
    ):
        return answer.status, await answer.read()


def difference(answer: bytes, body: bytes) -> str:
    """Return how an answer differs from our body of the same order; empty if it is the same order.

    The order of fields and items, more fields, and the spelling of times do not count.
    """
    try:
        found = json.decode(answer)
    except DecodeError:
        return "not JSON"
    if not isinstance(found, dict):
        return "not an object"
    wanted = json.decode(body)
    fields = [name for name in wanted if name not in _OUR_OWN and _plain(name, found) != _plain(name, wanted)]
    return f"different {', '.join(fields)}" if fields else ""


def _plain(field: str, order: dict[str, Any]) -> Any:
    value = order.get(field)
    try:
        if field == "items" and value:
            return sorted(value, key=lambda item: str(item["rid"]))
        return datetime.fromisoformat(value) if field == "date_created" and value else value
    except (KeyError, TypeError, ValueError):
        return value
