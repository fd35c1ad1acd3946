"""The services for a run, with new databases, topics and Redis databases in them."""

import os
import resource
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import attrs
import psutil
from redis.asyncio import Redis

from bench.builds import Build, this_build
from bench.programs import program
from bench.reference_tables import SCHEMA
from orderflow.operating.dbmate import find_dbmate
from orderflow.services.process import process_tree
from orderflow.services.service import silent
from orderflow.start.connections import redis_client
from orderflow.start.settings import Settings, parse_settings
from tests.support.endpoints import Endpoints, endpoints
from tests.support.isolation import connect, own_database, own_redis_db, unique
from tests.support.programs import RUN_MARK

REDIS_TIMEOUT_S = 30.0
_MIGRATE_TIMEOUT_S = 120.0
_WARM_TIMEOUT_S = 300.0
_WARM = """
SELECT pg_prewarm(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid IN ('orders'::regclass, 'order_items'::regclass) ORDER BY pg_relation_size(indexrelid) DESC
"""
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class NotDurable(Exception):
    """PostgreSQL's settings do not make commits durable, so the measurements would be meaningless."""


@attrs.frozen
class Testbed:
    """The services and builds of a run. `reference` is a template database. `folder` is for logs and data files."""

    endpoints: Endpoints
    folder: Path
    mark: str
    reference: str
    builds: tuple[Build, ...]

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the services, for all programs that a run starts."""
        return {**self.endpoints.environment, RUN_MARK: self.mark}

    @property
    def this(self) -> Build:
        """The build of this process."""
        return self.builds[-1]

    @asynccontextmanager
    async def stores(self, template: str, *, large: bool = False) -> AsyncIterator[dict[str, str]]:
        """Provide settings with a new copy of the database `template` and an empty Redis database."""
        strategy = "FILE_COPY" if large else "WAL_LOG"
        async with (
            own_database(self.environment, template, strategy) as database,
            self.redis(database) as environment,
        ):
            yield environment

    @asynccontextmanager
    async def redis(self, database: str) -> AsyncIterator[dict[str, str]]:
        """Provide settings with an existing database and an empty Redis database."""
        async with own_redis_db(self.environment) as redis_db:
            yield {**self.environment, "POSTGRES_DATABASE": database, "REDIS_DB": redis_db}

    def processor_s(self) -> dict[str, float]:
        """Return the CPU time of the embedded services, and of programs that have ended, in seconds by name."""
        services = self.endpoints.embedded.services if self.endpoints.embedded else ()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            **{service.name: processor_s(service.pid) for service in services if service.pid is not None},
            "program": ended.ru_utime + ended.ru_stime,
        }


def per_order_us(before: Mapping[str, float], after: Mapping[str, float], orders: int) -> dict[str, float]:
    """Return the CPU time per order in microseconds, by name, from two readings in seconds."""
    return {name: (seconds - before[name]) / max(1, orders) * 1e6 for name, seconds in after.items()}


def processor_s(pid: int) -> float:
    """Return the CPU time in seconds of a process and its descendants, running or reaped."""
    total = 0.0
    for process in process_tree(pid):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@asynccontextmanager
async def testbed(folder: Path, others: Sequence[Build]) -> AsyncIterator[Testbed]:
    """Provide services, this build and `others`. Each build has a template database with its own migrations.

    Afterwards, services that were started here are stopped, and databases that were created here are dropped.
    """
    async with endpoints(folder / "services") as found:
        await _check_durable(found.environment)
        if found.embedded is not None:
            await _no_snapshots(found.environment)
        async with AsyncExitStack() as stack:
            reference = await stack.enter_async_context(own_database(found.environment))
            async with connection({**found.environment, "POSTGRES_DATABASE": reference}) as database:
                await database.execute(SCHEMA.read_text(encoding="utf-8"))
            mark = f"{os.environ.get(RUN_MARK, '')}.{unique('bench')}"
            bed = Testbed(found, folder, mark, reference, (*others, this_build()))
            yield await _migrated(bed, stack)


@asynccontextmanager
async def with_postgresql(bed: Testbed, postgres: Mapping[str, str]) -> AsyncIterator[Testbed]:
    """Provide the testbed with another PostgreSQL server, in which each build has a template database, too.

    `postgres` are the settings that name the server. There is no reference database in it.
    """
    environment = {**bed.endpoints.environment, **postgres}
    await _check_durable(environment)
    found = attrs.evolve(bed.endpoints, environment=environment, embedded=None)
    async with AsyncExitStack() as stack:
        yield await _migrated(attrs.evolve(bed, endpoints=found, reference=""), stack)


async def _migrated(bed: Testbed, stack: AsyncExitStack) -> Testbed:
    """Return the testbed with a new template database for each build, with the build's own migrations."""
    environment = {**bed.environment, "DBMATE": await find_dbmate(silent)}
    builds = []
    for build in bed.builds:
        name = await stack.enter_async_context(own_database(bed.environment))
        await _migrate(build, {**environment, "POSTGRES_DATABASE": name}, bed.folder)
        builds.append(attrs.evolve(build, database=name))
    return attrs.evolve(bed, builds=tuple(builds))


async def _migrate(build: Build, environment: Mapping[str, str], folder: Path) -> None:
    command = build.orderflow("migrate")
    async with program(f"migrate {build.name}", command, environment, folder, root=build.root) as migration:
        await migration.wait(_MIGRATE_TIMEOUT_S)


async def _check_durable(environment: Mapping[str, str]) -> None:
    async with connection(environment) as database:
        for name, wanted in _DURABLE.items():
            found = await database.fetchval(f"SHOW {name}")
            if found != wanted:
                raise NotDurable(f"PostgreSQL's setting {name} is {found}: set it to {wanted}")


async def _no_snapshots(environment: Mapping[str, str]) -> None:
    """Turn off snapshots of the embedded Valkey: they would affect one contestant and not another."""
    async with redis_client(parse_settings(environment)) as redis:
        await redis.config_set("save", "")


@asynccontextmanager
async def connection(environment: Mapping[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """Provide a connection to the database that `environment` names."""
    opened = await connect(environment)
    try:
        yield opened
    finally:
        opened.terminate()


def redis_of(environment: Mapping[str, str]) -> Redis:
    """Return a client, with a long timeout, of the Redis database that `environment` names."""
    return redis_client(parse_settings(environment), timeout_s=REDIS_TIMEOUT_S)


async def settle(database: asyncpg.Connection) -> None:
    """Run a checkpoint, so that writes of earlier contestants do not slow down the next one."""
    try:
        await database.execute("CHECKPOINT")
    except asyncpg.InsufficientPrivilegeError:
        print("bench: CHECKPOINT is not permitted: contestants may affect each other", file=sys.stderr)


async def warm(database: asyncpg.Connection) -> None:
    """Read the indexes of a copied database into `shared_buffers`, as in a server that has been in use.

    The smallest are read last, so that they stay. Needs PostgreSQL's extension `pg_prewarm`, which Debian's packages
    have; without it the buffers begin empty.
    """
    if not await database.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_prewarm'"):
        return
    try:
        await database.execute("CREATE EXTENSION pg_prewarm")
    except asyncpg.InsufficientPrivilegeError:
        print("bench: CREATE EXTENSION is not permitted: PostgreSQL's buffers begin empty", file=sys.stderr)
    else:
        await database.execute(_WARM, timeout=_WARM_TIMEOUT_S)


def redis_url(settings: Settings, database: int | None = None) -> str:
    """Return the Redis database as a URL. The URL contains the password."""
    login = ""
    if settings.redis_password:
        login = f"{settings.redis_username}:{settings.redis_password}@"
    number = settings.redis_db if database is None else database
    return f"redis{'s' if settings.redis_tls else ''}://{login}{settings.redis_address}/{number}"
