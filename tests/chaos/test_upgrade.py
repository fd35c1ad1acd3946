"""This build and an earlier one, side by side over one database, topic and Redis, under load: there, and back again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import attrs
import pytest

from bench.base import NoRevision, base_build, find_revision
from bench.builds import Build
from orderflow.services import free_ports
from tests.chaos.engines import drain, shared_out, started
from tests.chaos.fault_run import FaultRun
from tests.chaos.readers import readers
from tests.support.endpoints import Endpoints
from tests.support.isolation import own_database
from tests.support.programs import Programs, Running

OLDEST = "b1906232dd84fd6d9de597cb9bca7054b188bda0"
"""The oldest build whose workers may run beside this one's: its schema lacks four migrations. It has no warning yet."""
BEFORE = "b3678431808f9564171eaf2f59e2bd0c049967a2"
"""A build whose schema lacks one migration.

Some later ones take Redis for another server when they run beside this one, and clean the cache every five seconds.
"""
WORKERS = 2
MIGRATED_WITHIN_S = 10.0
WRONG = {"worker_died", "worker_stuck", "worker_failed", "outage_started", "brake_engaged"}
"""Events that an upgrade must not cause."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
async def earlier(request: pytest.FixtureRequest) -> AsyncIterator[Build]:
    """Provide a build of the revision that the test names. Skips where the clone does not have it."""
    try:
        revision = find_revision(request.param)
    except NoRevision as error:
        pytest.skip(f"an upgrade was NOT tried: {error}; a shallow clone lacks it: git fetch --unshallow")
    async with base_build(revision) as build:
        yield build


@pytest.fixture
async def environment(environment: dict[str, str], endpoints: Endpoints) -> AsyncIterator[dict[str, str]]:
    """Provide the settings of a test, with an empty database: the earlier build migrates it."""
    async with own_database(endpoints.environment) as name:
        yield {**environment, "POSTGRES_DATABASE": name}


@pytest.fixture
async def before(earlier: Build, orderflow: Programs, tmp_path: Path) -> AsyncIterator[Programs]:
    """Provide the earlier build's command `orderflow`, with the environment of this one's."""
    programs = Programs(orderflow.environment, tmp_path, f"{orderflow.mark}.before", str(earlier.python))
    yield programs
    await programs.close()


@attrs.frozen
class System:
    """An engine and an HTTP server of one build."""

    engine: Running
    server: Running

    @staticmethod
    async def start(programs: Programs) -> "System":
        """Start both, the server at an address of its own, and wait until they work."""
        server = await programs.start("serve", HTTP_ADDR=f"127.0.0.1:{free_ports(1)[0]}")
        await server.wait_for("http_listening")
        return System(await started(programs, WORKERS), server)

    async def stop(self) -> None:
        """Stop both, which must be clean."""
        assert await self.server.stop() == 0, self.server.tail()
        await drain(self.engine)

    def complaints(self) -> list[str]:
        """Return what went wrong in its log: a worker that ended, an outage, an error.

        A prepared statement of a table that has changed is refused once, and then prepared again.
        """
        lines = [line for program in (self.engine, self.server) for line in program.events]
        bad = [line for line in lines if line.get("level") == "error" or line.get("event") in WRONG]
        return [str(line) for line in bad if not line.get("error", "").startswith("InvalidCachedStatementError")]


@attrs.frozen
class Upgrade:
    """Two builds, which replace each other while orders are published and looked up."""

    run: FaultRun
    database: asyncpg.Connection
    lookups: list[str] = attrs.field(factory=list)

    async def migrate(self, running: System, programs: Programs) -> float:
        """Migrate while an engine and a server of the build before work; return how long that took, in seconds."""
        clock = asyncio.get_running_loop().time
        async with readers(running.server, self.run.settings, self.run.random) as crowd:
            await self.run.progress()
            begun = clock()
            ended = await programs.run("migrate")
            took = clock() - begun
            assert ended.returncode == 0, ended.stderr
            assert "Applied" in ended.stderr, "the earlier build has the same schema: nothing was tried"
            await self.run.progress()
        self.lookups.append(crowd.check())
        return took

    async def replace(self, running: System, programs: Programs) -> System:
        """Start an engine and a server of another build beside those that run; stop the old ones once both share."""
        async with readers(running.server, self.run.settings, self.run.random) as crowd:
            joined = await System.start(programs)
            await shared_out(self.database, among=2 * WORKERS)
            await self.run.progress()
        self.lookups.append(crowd.check())
        async with readers(joined.server, self.run.settings, self.run.random) as crowd:
            await running.stop()
            await shared_out(self.database, among=WORKERS)
            await self.run.progress()
        self.lookups.append(crowd.check())
        return joined


@pytest.mark.parametrize(
    ("earlier", "warns"),
    [
        pytest.param(OLDEST, False, marks=pytest.mark.fault("43", "upgraded over four migrations, and back again")),
        pytest.param(BEFORE, True, marks=pytest.mark.fault("43", "upgraded over one migration, and back again")),
    ],
    indirect=["earlier"],
    ids=["oldest", "before"],
)
async def test_an_upgrade_and_the_way_back_lose_nothing_and_lookups_go_on(
    before: Programs, orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, warns: bool
) -> None:
    """Old engines work while the schema changes; both builds share the partitions; the old build starts over the new.

    It warns that it does not know the schema. No worker of either ends, every lookup is answered with its order, and
    neither build takes Redis for another server because of what the other one noted.
    """
    ended = await before.run("migrate")
    assert ended.returncode == 0, ended.stderr
    first = await System.start(before)
    upgrade, systems = Upgrade(fault_run, database), [first]

    async def there_and_back() -> None:
        took = await upgrade.migrate(first, orderflow)
        assert took < MIGRATED_WITHIN_S
        fault_run.remark = f"migrated in {took:.1f} s"
        for programs in (orderflow, before):
            systems.append(await upgrade.replace(systems[-1], programs))

    report = await fault_run.under_load(there_and_back, messages=2000, per_second=400)
    fault_run.remark += f"; {'; '.join(upgrade.lookups)}"
    assert report.violations == []
    assert [complaint for system in systems for complaint in system.complaints()] == []
    assert [system for system in systems if len(system.engine.seen("cache_recovered")) > WORKERS] == []
    last = systems[-1]
    for program in (last.engine, last.server):
        assert bool(program.seen("schema_is_newer", level="warning")) == warns
    await last.stop()
