"""Readers who look orders up over HTTP all through a fault run, and note every answer that is not as it should be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from random import Random

import attrs
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from msgspec import json

from engine.postgres.errors import ERRORS
from orderflow.start.settings import Settings
from tests.chaos.checker import link_to
from tests.support.programs import Running

READERS = 8
NEWS_S = 0.5
LONGEST_S = 5.0
"""The server gives up a lookup after 3 s; the rest is for a machine that is busy."""


@attrs.define
class Readers:
    """What the readers have seen. Each asks for one stored order after the other; `wrong` holds all complaints.

    A reader rests for up to `pause_s` seconds between two lookups. Of a share of the lookups, `impatience`, the reader
    does not wait for the end, and hangs up. A server that says that it is too busy is complained of unless `lenient`.
    """

    session: ClientSession
    random: Random
    pause_s: float
    impatience: float
    lenient: bool
    answers: int = 0
    refused: int = 0
    given_up: int = 0
    slowest_s: float = 0.0
    wrong: list[str] = attrs.field(factory=list)
    known: list[str] = attrs.field(factory=list)

    async def learn(self, settings: Settings) -> None:
        """Learn again and again which orders are stored: only those may be asked for."""
        link = link_to(settings)
        try:
            while True:
                with suppress(*ERRORS):
                    async with link.use() as connection:
                        rows = await connection.fetch("SELECT order_uid FROM orders")
                    self.known = [row["order_uid"] for row in rows]
                await asyncio.sleep(NEWS_S)
        finally:
            link.drop()

    async def read(self) -> None:
        """Look up stored orders, for ever."""
        while True:
            if self.known:
                await self._look_up(self.random.choice(self.known))
            await asyncio.sleep(self.random.uniform(0, self.pause_s))

    async def _look_up(self, uid: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        patience = asyncio.timeout(self.random.uniform(0, 0.1) if self.random.random() < self.impatience else None)
        try:
            async with patience, self.session.get(f"/order/{uid}") as answer:
                status, body = answer.status, await answer.read()
        except (ClientError, TimeoutError) as error:
            if patience.expired():
                self.given_up += 1
            else:
                self.wrong.append(f"{uid}: {type(error).__name__}")
            return
        self.answers += 1
        self.slowest_s = max(self.slowest_s, loop.time() - began)
        if self.lenient and status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.refused += 1
        elif status != HTTPStatus.OK:
            self.wrong.append(f"{uid}: {status}")
        elif json.decode(body)["order_uid"] != uid:
            self.wrong.append(f"{uid}: another order")

    def check(self) -> str:
        """Fail unless every answer was the order that was asked for, and none took long. Return a remark."""
        assert self.answers - self.refused > 100, f"only {self.answers} lookups, and {self.refused} of them refused"
        assert not self.wrong, f"{len(self.wrong)} of {self.answers} lookups went wrong, such as {self.wrong[:3]}"
        assert self.slowest_s < LONGEST_S, f"a lookup took {self.slowest_s:.1f} s"
        given_up = f", {self.given_up} given up" if self.given_up else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.answers} lookups{given_up}{refused}, the slowest {self.slowest_s * 1000:.0f} ms"


@asynccontextmanager
async def readers(
    server: Running,
    settings: Settings,
    random: Random,
    *,
    count: int = READERS,
    pause_s: float = 0.02,
    impatience: float = 0.0,
    lenient: bool = False,
) -> AsyncIterator[Readers]:
    """Let `count` readers ask a running `orderflow serve`, until the end of the block."""
    url = (await server.wait_for("http_listening"))["url"]
    limits = {"connector": TCPConnector(limit=0), "timeout": ClientTimeout(total=20)}
    async with ClientSession(url, **limits) as session:
        crowd = Readers(session, random, pause_s, impatience, lenient)
        tasks = [asyncio.create_task(crowd.learn(settings), name="learn")]
        tasks += [asyncio.create_task(crowd.read(), name="reader") for _ in range(count)]
        try:
            yield crowd
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not ended, f"a reader has ended: {ended}"
