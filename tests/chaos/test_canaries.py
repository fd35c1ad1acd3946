"""Personal data and passwords go through every failure, and come out nowhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import attrs
import pytest
from msgspec import json
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.chaos.canaries import RECIPIENT, SECRETS, Listener, canary_order
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Ledger, Sent
from tests.chaos.listening import (
    EMAIL,
    HEADERS,
    NAME,
    PHONE,
    listen_to_a_defect,
    listen_to_commands,
    listen_to_http,
    listen_to_stores,
)
from tests.chaos.network import Network
from tests.support.isolation import unique
from tests.support.programs import Programs, Running, marked
from tests.support.tcp_proxy import Way
from tests.support.topic import send

QUOTING_TRIGGER = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no order for %', NEW.delivery_email USING ERRCODE = 'insufficient_resources'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.fixture
async def secrets(settings: Settings, database: asyncpg.Connection, redis: Redis) -> AsyncIterator[dict[str, str]]:
    """Provide settings with a user and a password of the test's own for PostgreSQL and Redis, and an admin token."""
    user = unique("canary")
    password = SECRETS["POSTGRES_PASSWORD"].replace("'", "''")
    await database.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'")
    await redis.acl_setuser(user, True, passwords=[f"+{SECRETS['REDIS_PASSWORD']}"], keys=["*"], commands=["+@all"])
    yield {"POSTGRES_USER": user, "REDIS_USERNAME": user, "LOG_LEVEL": "debug", "RESTART_MAX": "100", **SECRETS}
    await redis.acl_deluser(user)
    await database.execute(f"DROP ROLE {user}")


def bad_messages(generator: OrderGenerator) -> list[bytes]:
    """Return messages that are no orders, with canaries wherever a message has room for them."""
    mistyped = [{name: [value]} for name, value in RECIPIENT.items()] + [
        {name: f"{value}\0"} for name, value in RECIPIENT.items()
    ]
    return [
        *(canary_order(generator, delivery={**RECIPIENT, **changes}) for changes in mistyped),
        canary_order(generator, date_created=EMAIL, payment=PHONE, items=[NAME, {EMAIL: PHONE}]),
        canary_order(generator, order_uid=EMAIL * 50, entry=5),
        canary_order(generator, **{EMAIL: 1, "locale": None}),
        json.encode([RECIPIENT]),
        json.encode(EMAIL),
        canary_order(generator)[:-1],
        *(value.encode("latin-1", "replace") for value in RECIPIENT.values()),
    ]


@attrs.define
class Ordeal:
    """Takes the engine through one failure after the other."""

    engine: Running
    network: Network
    database: asyncpg.Connection
    run: FaultRun
    ledger: Ledger
    generator: OrderGenerator = attrs.field(factory=lambda: OrderGenerator(seed=25))

    async def send_bad(self, *values: bytes) -> None:
        """Send messages that must become dead letters, with canaries for keys and headers too."""
        places = await send(self.run.settings, *((EMAIL.encode(), value) for value in values), headers=HEADERS)
        self.ledger.sent += [Sent(f"bad {place}", 0, *place) for place in places]

    async def be_rejected(self) -> None:
        await self.send_bad(*bad_messages(self.generator))

    async def be_refused_by_postgresql(self) -> None:
        """A constraint fails: the server's error quotes the row."""
        await self.database.execute("ALTER TABLE orders ADD CHECK (shardkey <> 'poison') NOT VALID")
        await self.send_bad(*(canary_order(self.generator, shardkey="poison") for _ in range(3)))

    async def meet_an_error_that_quotes_the_row(self) -> None:
        """A trigger of the operator's own fails every batch, with an e-mail in its words, until it is dropped.

        With a code that asks to wait: every other order would become a dead letter.
        """
        await self.database.execute(QUOTING_TRIGGER)
        await self.run.load_goes_on()
        await self.engine.wait_for_line("InsufficientResourcesError")
        await self.database.execute("DROP TRIGGER refuse ON orders")

    async def be_unable_to_store_a_letter(self) -> None:
        """A constraint of the operator's own refuses the dead letter itself, until it is dropped."""
        await self.database.execute(
            "ALTER TABLE dead_letters ADD CONSTRAINT none CHECK (reason <> 'invalid_json') NOT VALID"
        )
        await self.send_bad(f"{NAME} {PHONE} {EMAIL}".encode())
        await self.engine.wait_for_line("no dead letter can be stored")
        await self.database.execute("ALTER TABLE dead_letters DROP CONSTRAINT none")

    async def lose_connections(self) -> None:
        """Connections break in the middle of frames, and every service is away for a moment."""
        for proxy in self.network.proxies:
            for way in Way:
                await asyncio.wait_for(proxy.cut(way), 20)
            await proxy.shut()
            await self.run.load_goes_on()
            await proxy.open()

    async def all(self) -> None:
        """Go through all of it under load."""
        steps: list[Callable[[], Awaitable[None]]] = [
            self.be_rejected,
            self.be_refused_by_postgresql,
            self.meet_an_error_that_quotes_the_row,
            self.be_unable_to_store_a_letter,
            self.lose_connections,
        ]
        for step in steps:
            await self.run.progress()
            await step()
        self.run.healed()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "log_format",
    [
        pytest.param("json", marks=pytest.mark.fault("25", "canaries through every failure, logs in JSON")),
        pytest.param("console", marks=pytest.mark.fault("25", "canaries through every failure, logs for people")),
    ],
)
async def test_no_personal_data_and_no_password_comes_out_anywhere(
    secrets: dict[str, str],
    orderflow: Programs,
    network: Network,
    services: ServiceSet,
    fault_run: FaultRun,
    settings: Settings,
    database: asyncpg.Connection,
    redis: Redis,
    log_format: str,
) -> None:
    """No log, header, error text or output of a command holds them: only the order itself does, for whoever asks."""
    environment = {**secrets, "LOG_FORMAT": log_format, **network.environment}
    server_log = services.postgresql.process.log_file
    silence = server_log.stat().st_size
    engine = await orderflow.start("engine", "--workers", "2", **environment)
    server = await orderflow.start("serve", **environment)
    await engine.wait_for_line("partition_opened", timeout_s=40)
    await server.wait_for_line("http_listening", timeout_s=40)
    listener, ledger = Listener(), fault_run.ledger(change_share=0.2)
    ledger.recipient = RECIPIENT
    ordeal = Ordeal(engine, network, database, fault_run, ledger)

    report = await fault_run.under_load(ordeal.all, ledger=ledger, messages=3000, per_second=150)
    assert report.violations == []
    await listen_to_stores(settings, database, redis, listener, secrets["POSTGRES_USER"])
    known = next(one.uid for one in ledger.sent if one.version)
    await listen_to_http(settings, network, listener, known)
    await listen_to_a_defect(settings, database, listener, known)
    await server.wait_for_line("http_failed")
    if log_format == "json":
        await listen_to_commands(orderflow, environment, database, listener)
    for process in marked(orderflow.mark):
        listener.listen("a command line", *process.cmdline())
    await engine.stop(timeout_s=40)
    await server.stop()
    for program in (engine, server):
        listener.listen(f"the log of {program.title}", *program.stderr_lines, *program.stdout_lines)
    listener.listen("PostgreSQL's own log", *errors_without_words(server_log, silence))
    fault_run.remark = f"{listener.listened_to / 1e6:.1f} MB searched"
    assert sorted(listener.heard) == []


def errors_without_words(log: Path, start: int) -> list[str]:
    """Return what PostgreSQL has logged since `start`, without the message that the operator's trigger words itself."""
    return [
        line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if "no order for" not in line
    ]
