"""The brake on the real system: a producer's bad deploy pauses consumption instead of dead-lettering a whole topic."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec import json

from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.postgres.link import Link
from engine.stages.brake import Brake, BrakeLimits
from engine.stages.brake_pause import BrakePause
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running
from tests.support.topic import send

WINDOW = 50
BROKEN = (b"broken", b'{"order_uid": 5}')
LONG_S = "600"


def orders(count: int, seed: int = 3) -> list[tuple[bytes | None, bytes | None]]:
    generator = OrderGenerator(seed)
    return [(order["order_uid"].encode(), json.encode(order)) for order in (generator.order() for _ in range(count))]


async def braked_engine(orderflow: Programs, settings: Settings, pause_s: str = LONG_S) -> Running:
    """Start an engine and send it broken messages on one partition until its brake is engaged."""
    engine = await orderflow.start("engine", "--workers", "1", BRAKE_WINDOW=str(WINDOW), BRAKE_PAUSE_S=pause_s)
    await engine.wait_for("partition_opened", count=4)
    await send(settings, *[BROKEN] * (3 * WINDOW), partition=0)
    await engine.wait_for("brake_engaged")
    return engine


async def letters(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM dead_letters")
    return count


async def braked(database: asyncpg.Connection) -> bool:
    states: list[str] = await database.fetchval("SELECT coalesce(array_agg(state), '{}') FROM workers")
    return "braked" in states


async def listed(orderflow: Programs) -> list[Any]:
    rows: list[Any] = json.decode((await orderflow.run("brake", "status", "--json")).stdout)
    return rows


async def test_a_topic_full_of_broken_messages_is_not_dead_lettered_whole(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Consumption pauses within two windows, says so in its state, and ends cleanly although it pauses."""
    engine = await braked_engine(orderflow, settings)
    await eventually(lambda: braked(database), bool)
    await send(settings, *orders(10), partition=0)
    [line] = [line for line in (await orderflow.run("brake", "status")).lines if "pauses since" in line]
    assert f"of the last {WINDOW} messages were rejected" in line
    assert WINDOW <= await letters(database) <= 2 * WINDOW
    assert await database.fetchval("SELECT count(*) FROM orders") == 0
    assert await engine.stop() == 0
    assert json.decode((await orderflow.run("brake", "status", "--json")).stdout) == []


async def test_what_the_brake_held_back_is_consumed_by_the_next_engine(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A worker that is stopped in its pause has skipped nothing."""
    engine = await braked_engine(orderflow, settings)
    await send(settings, *orders(10), partition=0)
    await send(settings, *orders(5, seed=4), partition=1)
    assert await engine.stop() == 0
    await orderflow.start("engine", "--workers", "1", BRAKE_SHARE="1")
    await eventually(lambda: database.fetchval("SELECT count(*) FROM orders"), lambda count: count == 15)
    assert await letters(database) == 3 * WINDOW


async def test_an_operator_releases_the_brake(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """The worker goes on within a second, counts anew, and pauses again as long as nothing has become better."""
    engine = await braked_engine(orderflow, settings)
    before = await letters(database)
    released = await orderflow.run("brake", "release")
    assert (released.returncode, released.stdout) == (0, "Released: 1 worker\n")
    assert (await engine.wait_for("brake_released"))["by"] == "operator"
    await engine.wait_for("brake_engaged", count=2)
    assert before < await eventually(lambda: letters(database), lambda count: count > before) <= before + 2 * WINDOW
    await send(settings, *orders(10), partition=1)

    async def orders_after_one_more_release() -> int:
        await orderflow.run("brake", "release")
        return int(await database.fetchval("SELECT count(*) FROM orders"))

    await eventually(orders_after_one_more_release, lambda count: count == 10)
    await eventually(lambda: letters(database), lambda count: count == 3 * WINDOW)
    assert await engine.stop() == 0


async def test_the_brake_tries_again_by_itself(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """After its pause consumption goes on, and good messages find no brake any more.

    What is left of the broken ones may engage it once more before that.
    """
    engine = await braked_engine(orderflow, settings, pause_s="0.5")
    assert (await engine.wait_for("brake_released"))["by"] == "time"
    await send(settings, *orders(10), partition=0)
    await eventually(lambda: database.fetchval("SELECT count(*) FROM orders"), lambda count: count == 10)
    await eventually(lambda: database.fetchval("SELECT count(*) FROM brakes"), lambda count: count == 0)
    assert await engine.stop() == 0


async def test_a_killed_worker_pauses_no_more(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Nobody is told of the pause of a worker that no longer says that it pauses."""
    engine = await braked_engine(orderflow, settings)
    await eventually(lambda: listed(orderflow), bool)
    engine.send_signal(signal.SIGKILL, children=True)
    await engine.ended()
    await eventually(lambda: listed(orderflow), lambda rows: not rows)
    assert await database.fetchval("SELECT count(*) FROM brakes") == 1
    assert (await orderflow.run("brake", "release")).stdout == "No worker pauses\n"


class ForgetfulLink(Link):
    """Loses the answer to the first statement, which PostgreSQL has carried out."""

    lost = 0

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection, and pretend that it broke."""
        async with super().use() as connection:
            yield connection
            if not self.lost:
                self.lost += 1
                raise ConnectionResetError


async def test_a_pause_whose_answer_was_lost_goes_on(settings: Settings, database: asyncpg.Connection) -> None:
    """It is stored once, an operator can end it, and its row is gone then."""
    link, stop = ForgetfulLink(postgres_options(settings)), asyncio.Event()
    who = Identity(topic="orders", group="orderflow", worker="1", host="here")
    status = Status()
    brake = Brake(BrakeLimits(0.5, WINDOW, pause_s=600))
    for _ in range(WINDOW):
        brake.count(rejected=True)
    brake_pause = BrakePause(who, brake, link, status)
    pause = asyncio.create_task(brake_pause.hold(stop))
    await eventually(
        lambda: database.fetchval("SELECT count(*) FROM brakes WHERE seen_at > engaged_at + interval '0.5 s'"), bool
    )
    assert link.lost == 1
    assert await database.fetchval("SELECT count(*) FROM brakes") == 1
    await database.execute("DELETE FROM brakes")
    await pause
    assert not status.braked
    await link.close()


async def test_releasing_what_is_not_engaged_is_no_error(orderflow: Programs) -> None:
    """It says so."""
    released = await orderflow.run("brake", "release")
    assert (released.returncode, released.stdout) == (0, "No worker pauses\n")


@pytest.mark.parametrize("value", ["1.5", "-1", "half"])
async def test_a_share_that_is_none_is_refused(orderflow: Programs, value: str) -> None:
    """The message names the setting and what is allowed."""
    refused = await orderflow.run("brake", "status", BRAKE_SHARE=value)
    assert refused.returncode == 3
    assert f"BRAKE_SHARE must be a number from 0 to 1 (it is '{value}')" in refused.stderr
