"""Under honcho the engine stops within the five seconds that honcho gives its processes, whatever it waits for."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import psutil
from honcho.manager import KILL_WAIT
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.services import free_ports
from orderflow.start.real_environment import STOPS_WITHIN_S
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.programs import RUN_MARK, Programs
from tests.support.topic import send

PROCFILE = Path(__file__).parents[2] / "Procfile"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass"


async def test_a_drain_that_cannot_finish_is_given_up_before_honcho_kills(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A batch waits for a lock that somebody holds: nothing is killed, and no worker outlives the engine."""
    assert STOPS_WITHIN_S < KILL_WAIT
    (port,) = free_ports(1)
    honcho = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "honcho", "--no-colour", "-f", str(PROCFILE), "start"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **orderflow.environment, "HTTP_ADDR": f"127.0.0.1:{port}", RUN_MARK: orderflow.mark},
    )
    first, second = (OrderGenerator(seed=seed).order() for seed in (1, 2))
    try:
        await send(settings, (first["order_uid"].encode(), json.encode(first)), partition=0)
        await consumed(database, 1)
        async with database.transaction():
            await database.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            await send(settings, (second["order_uid"].encode(), json.encode(second)), partition=0)
            await eventually(lambda: database.fetchval(WAITING), lambda waiting: waiting > 0)
            started = psutil.Process(honcho.pid).children(recursive=True)
            honcho.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                output, _ = await honcho.communicate()
    finally:
        if honcho.returncode is None:
            honcho.kill()
    assert b"drain_incomplete" in output
    assert b"SIGKILL" not in output
    assert psutil.wait_procs(started, timeout=0)[1] == []
