"""Publishes orders to the system from this machine, and looks every one of them up."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs

from orderflow.demo.comparison import check_answer, published_orders
from orderflow.exits import Failed
from tools.containers.system import System
from tools.containers.waiting import until

_PUBLISH_TIMEOUT_S = 180
_BEGIN_TIMEOUT_S = 30
_STORED_TIMEOUT_S = 90
_LOOKUP_TIMEOUT_S = 10


@attrs.frozen
class Orders:
    """The orders of a run, by their uids: all that the broker has acknowledged, and those not yet looked up.

    `folder` has no `.env`.
    """

    system: System
    folder: Path
    uids: set[str] = attrs.field(factory=set)
    waiting: set[str] = attrs.field(factory=set)

    async def publish(self, count: int, *, rate: int | None = None) -> None:
        """Publish orders, at `rate` orders per second. Raises `Failed` unless all are acknowledged."""
        here = attrs.evolve(self.system.run, folder=self.folder).with_variables(self.system.client_environment)
        options = [] if rate is None else ["--rate", str(rate)]
        command = [sys.executable, "-m", "orderflow", "publish", str(count), *options]
        output = await here(*command, timeout_s=_PUBLISH_TIMEOUT_S)
        new = {line for line in output.splitlines() if line and not line.startswith("--- ")}
        if len(new) != count or new & self.uids:
            raise Failed(f"{len(new - self.uids)} new orders were published instead of {count}")
        self.uids.update(new)
        self.waiting.update(new)

    @asynccontextmanager
    async def published_meanwhile(self, count: int, rate: int) -> AsyncIterator[None]:
        """Publish orders; the block begins when the first have arrived. Raises `Failed` unless all are acknowledged."""
        before = await self._messages()
        publishing = asyncio.create_task(self.publish(count, rate=rate), name="publish")

        async def begun() -> str | None:
            more = await self._messages() > before or publishing.done()
            return None if more else "no order of the new ones is in the topic"

        try:
            await until(begun, _BEGIN_TIMEOUT_S)
            yield
            await publishing
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def verify_all(self) -> str:
        """Do what `verify` does, for the orders that were looked up already too."""
        self.waiting.update(self.uids)
        return await self.verify()

    async def verify(self) -> str:
        """Check that all orders are stored, none became a dead letter, and each new one is answered as published.

        Returns what was seen. Raises `Failed`.
        """
        await until(self._lag, _STORED_TIMEOUT_S)
        published = await published_orders(self.system.settings, self.waiting)
        timeout = aiohttp.ClientTimeout(total=_LOOKUP_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for uid in self.waiting:
                await check_answer(session, self.system.url, published[uid])
        rows, letters, messages = await self._rows(), await self._letters(), await self._messages()
        if rows != messages or letters:
            raise Failed(f"{messages} orders were published, {rows} are stored, {letters} are dead letters")
        looked_up = len(self.waiting)
        self.waiting.clear()
        return f"{looked_up:,} orders looked up twice, each as published"

    async def partitions(self) -> list[dict[str, Any]]:
        """Return what `orderflow lag --json` tells of each partition, asked in the container of the HTTP server."""
        found: list[dict[str, Any]] = json.loads(
            await self.system.compose("exec", "-T", "http", "orderflow", "lag", "--json")
        )
        return found

    async def owners(self) -> set[str]:
        """Return the host names of the machines that have partitions now."""
        owners = {row["owner"] or "nobody" for row in await self.partitions()}
        return {owner.partition("/")[0] for owner in owners}

    async def _lag(self) -> str | None:
        lag = [row["lag"] for row in await self.partitions()]
        return None if lag and not any(lag) and None not in lag else f"the lag of the partitions is {lag}"

    async def _messages(self) -> int:
        return sum(row["end_offset"] for row in await self.partitions())

    async def _letters(self) -> int:
        listed = await self.system.compose("exec", "-T", "http", "orderflow", "dlq", "list", "--json")
        return len(json.loads(listed))

    async def _rows(self) -> int:
        query = ["psql", "--username", "orderflow", "--dbname", "order_service", "--tuples-only", "--no-align"]
        counted = await self.system.compose(
            "exec", "-T", "postgres", *query, "--command", "SELECT count(*) FROM orders"
        )
        return int(counted)
