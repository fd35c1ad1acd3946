"""Machines of one consumer group: each with a name, an address and process ids of its own; under load."""

import asyncpg
import pytest
from msgspec import json

from tests.chaos.engines import GRACE_S, all_gone, shared_out
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.machines import Machine, require_machines
from tests.support.programs import Programs, Running
from tests.support.worker_reports import fetch_worker_reports


async def tells(url: str, by_host: dict[str, int]) -> None:
    """Wait until the server tells of so many living workers on each host, and the same in every way."""
    await eventually(lambda: fetch_worker_reports(url), lambda found: found.by_host() == by_host)


@pytest.mark.fault("8", "of two machines one is stopped, and the other one lost")
async def test_a_machine_takes_over_from_one_that_is_stopped_and_one_that_is_lost(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """Both servers tell of all workers of both, which have the same names and pids; who is gone is told of no more."""
    require_machines()
    west, east = Machine("west", "127.0.0.2", orderflow), Machine("east", "127.0.0.3", orderflow)
    engines = {machine.name: await machine.start_engine(2) for machine in (west, east)}
    urls = [await machine.serve() for machine in (west, east)]

    async def one_stops_and_the_other_is_lost() -> None:
        await shared_out(database, among=4)
        for url in urls:
            await tells(url, {"west": 2, "east": 2})
        pids = await database.fetch("SELECT worker, array_agg(DISTINCT pid) AS pids FROM workers GROUP BY worker")
        assert {row["worker"]: len(row["pids"]) for row in pids} == {"worker-0": 1, "worker-1": 1}
        await fault_run.progress()

        assert await west.stop(engines["west"]) == 0
        await shared_out(database, among=2)
        for url in urls:
            await tells(url, {"east": 2})
        await fault_run.progress()

        engines["west"] = await west.start_engine(2)
        await shared_out(database, among=4)
        lost = east.lose()
        await fault_run.load_goes_on()
        fault_run.healed()
        await all_gone(lost, GRACE_S)
        await tells(urls[0], {"west": 2})
        await shared_out(database, among=2)
        await fault_run.progress()

    report = await fault_run.under_load(one_stops_and_the_other_is_lost, messages=2000, per_second=500)
    assert report.violations == []
    assert hosts_of(engines["west"]) == {"west"}
    assert hosts_of(engines["east"]) == {"east"}
    assert {row["host"] for row in await database.fetch("SELECT DISTINCT host FROM batches")} == {"west", "east"}
    lags = json.decode((await orderflow.run("lag", "--json")).stdout)
    assert [lag["lag"] for lag in lags] == [0] * 4
    await west.close()


def hosts_of(engine: Running) -> set[str]:
    """Return the hosts that its log lines name; each names a supervisor, too."""
    assert all(line["supervisor"] for line in engine.events if line["event"] == "batch_committed")
    return {line["host"] for line in engine.events}
