"""A connection that is opened when needed, behind a network that goes silent."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import attrs
import pytest

from engine.postgres.link import Link
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

FAR_S = 15


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(settings.postgres_host, settings.postgres_port) as open_proxy:
        yield open_proxy


@pytest.fixture
async def link(settings: Settings, proxy: TcpProxy) -> AsyncIterator[Link]:
    options = postgres_options(attrs.evolve(settings, postgres_host="127.0.0.1", postgres_port=proxy.port))
    made = Link(options, deadline_s=0.5)
    yield made
    await made.close()


async def answer(link: Link) -> int:
    async with link.use() as connection:
        found: int = await link.within_deadline(connection.fetchval("SELECT 42"))
        return found


async def test_a_statement_that_is_never_answered_ends_at_the_deadline(link: Link, proxy: TcpProxy) -> None:
    """The connection is given up, and the next caller gets a new one."""
    assert await answer(link) == 42
    proxy.swallow()
    await proxy.open()
    async with asyncio.timeout(FAR_S):
        with pytest.raises(TimeoutError):
            await answer(link)
        assert await answer(link) == 42


async def test_a_connection_is_not_used_again_after_a_statement_timed_out(link: Link, proxy: TcpProxy) -> None:
    """A statement with a time-out of its own leaves behind a connection that nobody may wait for."""
    assert await answer(link) == 42
    proxy.swallow()
    await proxy.open()
    async with asyncio.timeout(FAR_S):
        with pytest.raises(TimeoutError):
            async with link.use() as connection:
                await connection.execute("SELECT 1", timeout=0.2)
        async with link.use() as connection:
            assert await connection.fetchval("SELECT 42", timeout=5) == 42


async def test_a_connection_that_rested_is_asked_whether_it_lives(
    link: Link, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that forgot the connection meanwhile fails no statement: the caller gets a new one."""
    monkeypatch.setattr("engine.postgres.link.TEST_AFTER_S", 0.0)
    monkeypatch.setattr("engine.postgres.link.ANSWERS_WITHIN_S", 1.0)
    async with link.use() as connection:
        first = connection
    async with link.use() as connection:
        assert connection is first
    proxy.swallow()
    await proxy.open()
    async with asyncio.timeout(FAR_S):
        assert await answer(link) == 42


async def test_connecting_ends_at_a_deadline(link: Link, proxy: TcpProxy) -> None:
    """A server that takes the connection and says nothing is an outage, not a wait without end."""
    proxy.swallow()
    async with asyncio.timeout(FAR_S):
        with pytest.raises(TimeoutError):
            await answer(link)


async def test_a_connection_that_nobody_uses_is_closed_and_opened_anew(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """After a while of rest, not before: whoever uses it again and again keeps it."""
    link = Link(postgres_options(settings), idle_s=0.3)
    sessions = "SELECT count(*)::int FROM pg_stat_activity WHERE pid = $1"
    try:
        async with link.use() as connection:
            first = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("SELECT pg_sleep(0.5)")
        async with link.use() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") == first
        await eventually(lambda: database.fetchval(sessions, first), (0).__eq__)
        async with link.use() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != first
    finally:
        await link.close()
