"""A PostgreSQL whose disk is full: a small file system of the test's own."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.chaos.checker import stored_offsets
from tests.chaos.engines import all_open, consumes, drain, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.support.isolation import connect, unique
from tests.support.programs import Programs

SIZE_MIB = 64
DISK_FULL = "DiskFullError (53100)"
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


def mount(folder: Path) -> None:
    """Mount a small file system. Skips the test where that is not allowed, and says why."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        why_not = (mounted.stderr.strip() or "no reason given") if mounted.returncode else ""
    except OSError as error:
        why_not = f"mount: {error.strerror}"
    if why_not:
        pytest.skip(f"a full disk takes a small file system that this user may mount: run this as root ({why_not})")


def unmount(folder: Path) -> None:
    """Take the file system away; what is still open in it goes with it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def small_disk(services: ServiceSet, environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Path]:
    """Move the test's database to a small disk, provide that disk's folder, and move the database back."""
    disk, name = tmp_path / "disk", unique("small")
    mount(disk)
    database = environment["POSTGRES_DATABASE"]
    maintenance = await connect({**environment, "POSTGRES_DATABASE": "postgres"})
    try:
        place = disk / "tablespace"
        place.mkdir()
        user, group = services.postgresql.account()
        if user is not None and group is not None:
            os.chown(place, user, group)
        await maintenance.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        await maintenance.execute(f'ALTER DATABASE "{database}" SET TABLESPACE {name}')
        yield disk
    finally:
        await maintenance.fetch(_CUT, database)
        await maintenance.execute(f'ALTER DATABASE "{database}" SET TABLESPACE pg_default')
        await maintenance.execute(f"DROP TABLESPACE IF EXISTS {name}")
        await maintenance.close()
        unmount(disk)


def fill(disk: Path) -> Path:
    """Fill the disk to the last byte; return the file that does it."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(64 * 1024)):
            pass
    return filler


@pytest.mark.fault("16", "PostgreSQL's disk is full")
async def test_a_full_disk_is_waited_out(
    small_disk: Path, orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Consumption pauses, no order is to blame, and when there is room again everything is written."""
    engine = await all_open(orderflow)
    workers = worker_pids(engine)

    async def consumed() -> int:
        return sum((await stored_offsets(database, settings)).values())

    async def fill_and_make_room() -> None:
        await consumes(engine)
        filler = fill(small_disk)
        await engine.wait_for("outage_started", of="postgres", error=DISK_FULL, count=len(workers), timeout_s=60)
        stands_at = await consumed()
        await fault_run.load_goes_on(1000)
        assert await consumed() == stands_at
        filler.unlink()
        fault_run.healed()
        await engine.wait_for("outage_ended", of="postgres", timeout_s=60)

    report = await fault_run.under_load(fill_and_make_room, messages=4000, per_second=400)
    assert report.violations == []
    assert worker_pids(engine) == workers
    await drain(engine)
