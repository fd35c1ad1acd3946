"""How long a connection may take for a head, and how long it may be idle: two times, in virtual seconds."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from lookup.serving.direct import DirectHandler
from lookup.serving.timed import TimedHandler
from lookup.serving.unsent import UnsentAnswers

from tests.support.memory_transport import MemoryTransport
from tests.support.virtual_time import VirtualLoop

HEAD_S, IDLE_S = 30.0, 75.0
QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = QUICK.replace(b"quick", b"slow")
POST = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
SLOW_S = 100.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
AT_ONCE = 0.001


class Route:
    """Answers as the server below does, without aiohttp's objects."""

    def take(self, path: str, _headers: Any, connection: DirectHandler, *, closes: bool) -> bool:  # noqa: ARG002
        asyncio.get_running_loop().call_later(SLOW_S if path == "/slow" else 0, connection.answer, ANSWER)
        return True


async def answer(request: web.BaseRequest) -> web.Response:
    if request.path == "/slow":
        await asyncio.sleep(SLOW_S)
    await request.read()
    return web.Response()


class Client(MemoryTransport):
    """A connection that knows when the server closed it, in seconds after it was opened."""

    closed_s: float | None = None

    def close(self) -> None:
        if not self.closed:
            self.closed_s = self._loop.time()
        super().close()

    @property
    def answers(self) -> int:
        return self.written.count(b"HTTP/1.1 200 OK")


Connect = Callable[..., Client]


@pytest.fixture(params=["timed", "direct"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a function that opens a connection, whichever way its requests are answered."""

    def opened(idle_s: float = IDLE_S) -> Client:
        options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "max_connections": 9,
            "unsent": UnsentAnswers(1 << 20),
            "head_deadline_s": HEAD_S,
            "keepalive_timeout": idle_s,
            "access_log": None,
        }
        server = web.Server(answer)
        handler = DirectHandler(server, route=Route(), **options) if request.param == "direct" else None
        return Client(handler or TimedHandler(server, **options))

    return opened


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def talk(client: Client, *parts: tuple[float, bytes]) -> float:
    """Send each part at its time in seconds, and return the time at which the server closes the connection."""
    now = asyncio.get_running_loop().time
    await asyncio.sleep(0)
    for at_s, part in parts:
        await asyncio.sleep(at_s - now())
        client.feed(part)
    async with asyncio.timeout(1000):
        while client.closed_s is None:
            await asyncio.sleep(0.5)
    return client.closed_s


def trickled(first_s: float, count: int) -> list[tuple[float, bytes]]:
    """Return a head that comes to no end: a byte each second."""
    return [
        (first_s + second, b"GET /quick HTTP/1.1\r\nX: ".ljust(200, b"x")[second : second + 1])
        for second in range(count)
    ]


CASES: dict[str, tuple[list[tuple[float, bytes]], int, float]] = {
    "no byte": ([], 0, HEAD_S),
    "a head that comes to no end": (trickled(0, 30), 0, HEAD_S),
    "a first head that begins late": (trickled(20, 10), 0, HEAD_S),
    "an idle connection": ([(0, QUICK)], 1, IDLE_S),
    "an idle connection after the last of several answers": ([(0, QUICK), (50, QUICK), (60, QUICK)], 3, 60 + IDLE_S),
    "a second head that begins at once": ([(0, QUICK), *trickled(1, 30)], 1, 1 + HEAD_S),
    "a second head that begins late": ([(0, QUICK), *trickled(70, 30)], 1, 70 + HEAD_S),
    "a head that ends in time": ([(0, QUICK), (70, QUICK[:9]), (95, QUICK[9:])], 2, 95 + IDLE_S),
    "a head in the packet of another": ([(0, QUICK + QUICK[:9])], 1, HEAD_S),
    "a head in a later packet of another": ([(0, QUICK), (10, QUICK + QUICK[:9])], 2, 10 + HEAD_S),
    "a head behind more than the parser takes at once": ([(0, QUICK), (10, QUICK * 40 + b"GET")], 41, 10 + HEAD_S),
    "such a head that ends in time": ([(0, QUICK + QUICK[:9]), (29, QUICK[9:])], 2, 29 + IDLE_S),
    "the end of a head in two packets": (
        [(0, QUICK[:-1]), (1, b"\n"), (2, QUICK[:-3]), (3, QUICK[-3:])],
        2,
        3 + IDLE_S,
    ),
    "blank lines": ([(0, QUICK), (10, b"\r\n"), (20, b"\r\n\r\n")], 1, IDLE_S),
    "a head after blank lines": ([(0, QUICK), (10, b"\r\n"), (20, b"\r\nGET")], 1, 20 + HEAD_S),
    "a body in parts": ([(0, QUICK), (10, POST + b"a"), (50, b"b"), (90, b"cd")], 2, 90 + IDLE_S),
    "a head behind a body": ([(0, POST), (5, b"abcd"), (10, b"GET")], 1, 10 + HEAD_S),
    "two requests in one packet": ([(0, QUICK + QUICK)], 2, IDLE_S),
    "a long answer": ([(0, SLOW)], 1, SLOW_S + IDLE_S),
}


@pytest.mark.parametrize("case", CASES)
def test_a_connection_is_closed_in_time(loop: VirtualLoop, connect: Connect, case: str) -> None:
    """A head has its time, an idle connection another, and a body and an answer take as long as they take."""
    parts, answers, closed_s = CASES[case]

    async def run() -> None:
        client = connect()
        assert await talk(client, *parts) == pytest.approx(closed_s, abs=AT_ONCE)
        assert client.answers == answers

    loop.run(run())


def test_an_idle_time_below_that_of_a_head_cuts_no_head_off(loop: VirtualLoop, connect: Connect) -> None:
    """A connection that is kept for five seconds: the first head, and one that has begun, have their thirty."""

    async def run() -> None:
        assert await talk(connect(5.0)) == pytest.approx(HEAD_S, abs=AT_ONCE)

    async def run_again() -> None:
        client, began_s = connect(5.0), loop.time()
        parts = [(0, QUICK), (4, QUICK[:5]), (33, QUICK[5:])]
        closed_s = await talk(client, *((began_s + at_s, part) for at_s, part in parts))
        assert closed_s - began_s == pytest.approx(33 + 5, abs=AT_ONCE)
        assert client.answers == 2

    loop.run(run())
    loop.run(run_again())


def test_a_head_behind_an_answer_in_progress_does_not_end_that_answer(loop: VirtualLoop, connect: Connect) -> None:
    """Its time begins again until the answer is sent; then it is cut off."""

    async def run() -> None:
        client = connect()
        closed_s = await talk(client, (0, SLOW), (1, QUICK[:5]))
        assert SLOW_S < closed_s < SLOW_S + HEAD_S + 1
        assert client.answers == 1

    loop.run(run())


@pytest.mark.parametrize(
    ("sent", "answers", "closed_s"),
    [(QUICK, 1, 0.0), (SLOW, 1, SLOW_S), (QUICK[:9], 0, 0.0), (b"", 0, 0.0)],
    ids=["a quick answer", "a slow answer", "a part of a head", "nothing"],
)
def test_a_client_that_ends_its_side_is_answered_and_then_left(
    loop: VirtualLoop, connect: Connect, sent: bytes, answers: int, closed_s: float
) -> None:
    """It may still read; what it has not asked completely is not waited for."""

    async def run() -> None:
        client = connect()
        await asyncio.sleep(0)
        client.feed(sent)
        client.end()
        async with asyncio.timeout(1000):
            while client.closed_s is None:
                await asyncio.sleep(0.01)
        assert client.closed_s == pytest.approx(closed_s, abs=0.1)
        assert client.answers == answers

    loop.run(run())


def test_a_closed_connection_has_no_timer(loop: VirtualLoop, connect: Connect) -> None:
    """Nothing keeps it: neither before its first head nor with a part of one."""

    async def run() -> None:
        for part in (b"", QUICK, QUICK + b"GET"):
            client = connect()
            await asyncio.sleep(0)
            client.feed(part)
            await asyncio.sleep(1)
            client.close()
        await asyncio.sleep(1)

    loop.run(run())
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
