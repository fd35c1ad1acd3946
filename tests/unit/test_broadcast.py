"""One source and many listeners. Time is virtual."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from lookup.operations.broadcast import Broadcast, TooManyListeners
from structlog.testing import capture_logs

from tests.support.virtual_time import VirtualLoop


def in_virtual_time(work: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run(work)
    finally:
        loop.close()


class Source:
    """Numbers what it makes."""

    def __init__(self) -> None:
        self.made = 0
        self.fails = False

    async def make(self) -> bytes:
        self.made += 1
        if self.fails:
            raise ValueError("secret")
        return b"%d" % self.made


def broadcast(source: Source, max_listeners: int = 3) -> Broadcast:
    return Broadcast(source.make, every_s=1.0, max_listeners=max_listeners)


def test_all_listeners_get_the_same_and_it_is_made_once() -> None:
    async def run() -> None:
        source = Source()
        shared = broadcast(source)
        with shared.listen() as one, shared.listen() as other:
            for number in (b"1", b"2", b"3"):
                assert await asyncio.gather(one.next(), other.next()) == [number, number]
        assert source.made == 3

    in_virtual_time(run())


def test_who_is_slow_misses_what_came_between() -> None:
    async def run() -> None:
        shared = broadcast(Source())
        with shared.listen() as slow:
            assert await slow.next() == b"1"
            await asyncio.sleep(5.5)
            assert await slow.next() == b"6"
            assert await slow.next() == b"7"

    in_virtual_time(run())


def test_who_comes_later_gets_the_newest_at_once() -> None:
    async def run() -> None:
        shared = broadcast(Source())
        with shared.listen() as first:
            await first.next()
            with shared.listen() as second:
                began = asyncio.get_running_loop().time()
                assert await second.next() == b"1"
                assert asyncio.get_running_loop().time() == began

    in_virtual_time(run())


def test_nothing_is_made_while_nobody_listens() -> None:
    async def run() -> None:
        source = Source()
        shared = broadcast(source)
        await asyncio.sleep(10)
        assert source.made == 0
        with shared.listen() as listener:
            await listener.next()
        await asyncio.sleep(10)
        assert source.made == 1
        with shared.listen() as listener:
            assert await listener.next() == b"2", "never what was made long ago"

    in_virtual_time(run())


def test_listeners_are_bounded_and_leaving_makes_room() -> None:
    async def run() -> None:
        shared = broadcast(Source(), max_listeners=2)
        with shared.listen():
            with shared.listen(), pytest.raises(TooManyListeners):
                shared.listen()
            with shared.listen():
                pass

    in_virtual_time(run())


def test_the_end_reaches_who_waits_and_who_is_taking() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        shared = broadcast(Source())
        with shared.listen() as waiting, shared.listen() as taking:
            await waiting.next()

            async def take() -> None:
                async with taking.taking(60):
                    await asyncio.sleep(1000)

            tasks = asyncio.create_task(waiting.next()), asyncio.create_task(take())
            await asyncio.sleep(0.5)
            began = loop.time()
            await shared.close()
            assert await tasks[0] is None
            with pytest.raises(TimeoutError):
                await tasks[1]
            assert loop.time() == began
            with pytest.raises(TimeoutError):
                await take()
        with pytest.raises(TooManyListeners):
            shared.listen()
        await shared.close()

    in_virtual_time(run())


def test_a_defect_is_reported_without_its_text_and_ends_nothing() -> None:
    async def run() -> None:
        source = Source()
        shared = broadcast(source)
        with shared.listen() as listener:
            await listener.next()
            source.fails = True
            await asyncio.sleep(2.5)
            source.fails = False
            assert await listener.next() == b"4"

    with capture_logs() as logs:
        in_virtual_time(run())
    assert {line["event"] for line in logs} == {"http_failed"}
    assert "secret" not in str(logs)
