"""What machines may have in common, or wrong, and nobody is mistaken: names, process ids, clocks. On real services."""

import asyncio
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.machines import Machine, require_machines
from tests.support.programs import Programs
from tests.support.topic import send
from tests.support.worker_reports import WorkerReports, fetch_worker_reports

WRONG_CLOCK = str(Path(__file__).parents[1] / "support" / "wrong_clock")
OFF_S = 300
WINDOW = 20


def off_by(seconds: int) -> dict[str, str]:
    return {"PYTHONPATH": WRONG_CLOCK, "CLOCK_IS_OFF_S": str(seconds)}


async def test_machines_of_one_name_are_told_apart(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Copies of one machine: host, process ids and worker names are the same; rows, series and brakes are not."""
    require_machines()
    copies = [Machine("copy", address, orderflow) for address in ("127.0.0.2", "127.0.0.3")]
    brake = {"BRAKE_WINDOW": str(WINDOW), "BRAKE_PAUSE_S": "600"}
    engines = [await copy.start_engine(1, **brake) for copy in copies]
    url = await copies[0].serve()
    found = await eventually(lambda: fetch_worker_reports(url), lambda found: found.by_host() == {"copy": 2})
    alike = [{worker[name] for worker in found.living} for name in ("host", "worker", "pid")]
    assert [len(values) for values in alike] == [1, 1, 1]

    async def owned() -> list[list[int]]:
        return [row["partitions"] for row in await database.fetch("SELECT partitions FROM workers")]

    for partitions in await eventually(owned, lambda found: [len(some) for some in found] == [2, 2]):
        await send(settings, *[(b"bad", b"no order")] * (3 * WINDOW), partition=partitions[0])

    async def pauses() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.decode((await orderflow.run("brake", "status", "--json")).stdout)
        return rows

    brakes = await eventually(pauses, lambda rows: len(rows) == 2)
    assert {(row["host"], row["worker"]) for row in brakes} == {("copy", "worker-0")}
    supervisors = {line["supervisor"] for engine in engines for line in engine.seen("supervisor_started")}
    assert len(supervisors) == 2
    assert {row["supervisor"] for row in brakes} == supervisors == {name[1] for name in found.names()}
    for copy in copies:
        await copy.close()


async def test_a_clock_that_is_wrong_by_minutes_makes_nobody_live_or_die(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """The engine's is behind and the server's ahead: workers, times, latencies and lag are right all the same."""
    engine = await orderflow.start("engine", "--workers", "1", **off_by(-OFF_S))
    server = await orderflow.start("serve", **off_by(OFF_S))
    url = (await server.wait_for("http_listening"))["url"]
    opened = await engine.wait_for("partition_opened", count=4)
    now = await database.fetchval("SELECT clock_timestamp()")
    assert abs((datetime.fromisoformat(opened["time"]) - now).total_seconds() + OFF_S) < 30, "the clock is not wrong"
    await send(settings, (b"key", json.encode(orders.order())), (b"bad", b"no order"))
    await consumed(database, 2)

    def recent(found: WorkerReports) -> bool:
        return bool(found.by_host()) and sum(found.snapshot["rates"]["committed"]) > 0

    found = await eventually(lambda: fetch_worker_reports(url), recent)
    assert (len(found.living), found.health["status"]) == (1, "ok")
    at, started_at = (datetime.fromisoformat(text) for text in (found.snapshot["at"], found.living[0]["started_at"]))
    assert 0 < (at - started_at).total_seconds() < 60
    assert abs((at - now).total_seconds()) < 60
    assert all(0 <= value < 60_000 for value in found.snapshot["rates"]["commit_ms"] if value is not None)
    odd = "failed_at NOT BETWEEN $1::timestamptz - interval '1 minute' AND $1::timestamptz + interval '1 minute'"
    assert await database.fetchval(f"SELECT count(*) FROM dead_letters WHERE {odd}", now) == 0

    engine.send_signal(signal.SIGKILL, children=True)
    await send(settings, (b"key", json.encode(orders.order())))
    async with asyncio.timeout(10):
        found = await eventually(lambda: fetch_worker_reports(url), lambda found: found.by_host() == {})
    assert found.snapshot["services"]["engine"]["status"] == "unavailable"

    # One that has not seen the partition without lag reckons from when the last message was produced.
    assert await server.stop() == 0
    await (await orderflow.start("serve", **off_by(OFF_S))).wait_for("http_listening")
    found = await eventually(
        lambda: fetch_worker_reports(url), lambda found: any(lag["lag"] for lag in found.snapshot["partitions"])
    )
    lags = [found.snapshot["partitions"], json.decode((await orderflow.run("lag", "--json", **off_by(OFF_S))).stdout)]
    for waiting in ([lag for lag in some if lag["lag"]] for some in lags):
        assert [lag["lag"] for lag in waiting] == [1]
        assert 0 <= waiting[0]["lag_s"] < 60
