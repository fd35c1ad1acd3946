"""Lookups that are answered directly equal those that go through aiohttp: bytes, connections, log lines, metrics."""

import asyncio
import gc
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from errno import ENOSPC
from typing import Any

import asyncpg
import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from lookup.serving.direct import DirectHandler
from lookup.serving.metrics import METRICS
from lookup.serving.runner import LookupRunner
from lookup.serving.unsent import UNCOUNTED_BYTES
from structlog.testing import capture_logs

from engine.telemetry.trace_context import new_traceparent
from handlers.cache import OrderCache, versioned_trace
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import cache_servers, postgres_options
from orderflow.start.settings import Settings
from tests.support.lookup_server import lookup_runner
from tests.support.memory_transport import MemoryTransport
from tests.support.stored_orders import make_order, store_order

NAMED = "https://shop.example"
UIDS = ("plain", "traced", "a b/%ж")
_VARYING = re.compile(rb"(?<=dur=)[0-9.]+|(?<=\r\nDate: )[^\r]+")
_TRACEPARENT = new_traceparent()

PATHS = st.sampled_from(
    [
        "/order/plain",
        "/order/plain",
        "/order/traced",
        "/order/a%20b%2F%25%D0%B6",
        "/order/unknown",
        "/order/a%00",
        "/order/%FF",
        "/order/" + "a" * 513,
        "/order/plain?phone=1",
        "/order/plain#part",
        "/order/plain/story",
        "/order/",
        "/order//plain",
        "/orders?limit=0",
        "/dead-letters/access",
        "/nowhere",
        "http://127.0.0.1/order/plain",
        "/order/ж",
        "*",
    ]
)
LINES = st.sampled_from(
    [
        f"traceparent: {_TRACEPARENT}",
        "traceparent: 00-none",
        "Connection: close",
        "Connection: keep-alive",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Expect: more",
        "Content-Length: 0",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        "Accept-Encoding: gzip",
        "If-None-Match: *",
        "Range: bytes=0-1",
        "Host: again",
        "X-Odd: \x80",
        "Origin:",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Method: POST",
        "no colon",
        " folded",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request; most are plain."""
    method = draw(st.sampled_from(["GET"] * 6 + ["HEAD", "POST", "get", "OPTIONS", "NONSENSE"]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP"]))
    lines = draw(st.one_of(st.just([]), st.lists(LINES, max_size=3)))
    host = draw(st.sampled_from([["Host: x"]] * 9 + [[]]))
    origin = draw(st.sampled_from([[], *[[f"Origin: {NAMED}"]] * 2, ["Origin: https://other.example"]]))
    body = draw(st.sampled_from([""] * 6 + ["abc", "3\r\nabc\r\n0\r\n\r\n", "\r\n"]))
    return "\r\n".join([f"{method} {draw(PATHS)} {version}", *host, *origin, *lines, "", body]).encode("utf-8")


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Return what a client sends, in parts: several requests in a row, cut anywhere, sometimes with a byte replaced."""
    sent = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=4))))
    for at in draw(st.one_of(st.just([]), st.lists(st.integers(0, len(sent) - 1), max_size=2))):
        sent[at] = draw(st.integers(0, 255))
    cuts = sorted(draw(st.sets(st.integers(1, len(sent)), max_size=4)))
    return [bytes(sent[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True) if begin < end]


@attrs.frozen
class Outcome:
    """What a conversation led to, without what differs from one second to the next."""

    answers: bytes
    closed: bool
    lines: list[dict[str, Any]]


async def talk(runner: LookupRunner, parts: list[bytes], waits: list[bool]) -> Outcome:
    """Send the parts. After those that say so the client waits until all is answered."""
    with capture_logs() as lines:
        protocol = runner.server()
        transport = MemoryTransport(protocol)
        await asyncio.sleep(0)
        for part, wait in zip(parts, waits, strict=True):
            transport.feed(part)
            if wait:
                await _answered(protocol, transport)
        await _answered(protocol, transport)
        closed = transport.closed
        transport.close()
        await _ended(protocol)
    return Outcome(
        _VARYING.sub(b"", transport.written),
        closed,
        [{name: value for name, value in line.items() if name != "duration_ms"} for line in lines],
    )


def counted(runner: LookupRunner) -> list[str]:
    """Return what the server says of its requests in its metrics, without their durations."""
    text = runner.app[METRICS].render({"services": {}, "workers": [], "partitions": []}).decode()
    return sorted(
        line for line in text.splitlines() if re.match(r"orderflow_http_(requests|lookups)_total|.*_count", line)
    )


async def _answered(protocol: Any, transport: MemoryTransport) -> None:
    """Wait until nothing is in progress on the connection."""
    async with asyncio.timeout(10):
        while not transport.closed and not _idle(protocol, transport):
            await asyncio.sleep(0)


def _idle(protocol: Any, transport: MemoryTransport) -> bool:
    waits = protocol._waiter is not None and not protocol._waiter.done()
    return waits and not protocol._messages and not getattr(protocol, "_busy", False) and transport.all_read


async def _ended(protocol: Any) -> None:
    """Wait until a request in progress has ended, and is logged."""
    async with asyncio.timeout(10):
        while getattr(protocol, "_busy", False) or protocol._request_in_progress:
            await asyncio.sleep(0)


@contextmanager
def servers(settings: Settings, **changes: Any) -> Iterator[tuple[asyncio.Runner, LookupRunner, LookupRunner]]:
    """Provide a loop, the direct server and the one without, over the same cached orders."""
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()
        try:
            loop.run(_store(settings))
            # On a busy machine one of them might otherwise find the cache too slow.
            patience = {"cache_deadline_s": 5.0, "lookup_deadline_s": 10.0}
            options = {"lingering_s": 0.02, "max_headers": 8, **patience, **changes}
            direct = loop.run(stack.enter_async_context(lookup_runner(settings, **options)))
            plain = loop.run(stack.enter_async_context(lookup_runner(settings, direct=False, **options)))
            yield loop, direct, plain
        finally:
            loop.run(stack.aclose())


async def _store(settings: Settings) -> None:
    generator = OrderGenerator(5)
    cache = OrderCache(cache_servers(settings), 3600)
    database = await asyncpg.connect(**postgres_options(settings))
    bodies = [(uid, await store_order(database, make_order(generator, order_uid=uid))) for uid in UIDS]
    await cache.put_many(bodies, [("traced", versioned_trace(bodies[1][1], new_traceparent()))])
    await cache.aclose()
    await database.close(timeout=5)


@pytest.mark.parametrize("origins", [(), (NAMED, "http://localhost:3000")], ids=["alone", "cors"])
def test_a_conversation_is_the_same_whether_lookups_are_direct_or_not(
    settings: Settings, origins: tuple[str, ...]
) -> None:
    """Whatever is sent, and however it is cut: the bytes, the connection, the access lines and the metrics."""
    with servers(settings, cors_origins=origins) as (loop, direct, plain):

        @hypothesis.settings(max_examples=60)
        @hypothesis.given(conversations(), st.data())
        def compare(parts: list[bytes], data: st.DataObject) -> None:
            waits = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
            assert loop.run(talk(direct, parts, waits)) == loop.run(talk(plain, parts, waits))

        compare()
        assert counted(direct) == counted(plain) != []


REQUEST = b"GET /order/plain HTTP/1.1\r\nHost: x\r\n\r\n"


def test_what_is_plain_is_answered_directly(settings: Settings) -> None:
    """aiohttp's own counter tells its requests: it has seen none of the plain ones, and all others."""
    with servers(settings) as (loop, direct, _):
        server: Any = super(LookupRunner, direct).server
        livez = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        for request, seen in ((REQUEST, 0), (REQUEST.replace(b"1.1", b"1.0"), 1), (livez, 2)):
            outcome = loop.run(talk(direct, [request], [True]))
            assert outcome.answers.split(b" ", 2)[1] == b"200"
            assert server.requests_count == seen


@pytest.mark.parametrize("size", [37, 1000, 1_000_000])
def test_many_requests_at_once_are_answered_in_order(settings: Settings, size: int) -> None:
    """More than aiohttp's parser takes in one go, direct ones and others in turn, cut at any place."""
    paths = [("/order/plain", "/order/unknown", "/livez", "/order/traced", "/nowhere")[n * n % 5] for n in range(150)]
    sent = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode()
    parts = [sent[start : start + size] for start in range(0, len(sent), size)]
    with servers(settings) as (loop, direct, plain):
        outcome = loop.run(talk(direct, parts, [False] * len(parts)))
        assert outcome == loop.run(talk(plain, parts, [False] * len(parts)))
        assert outcome.answers.count(b"HTTP/1.1 ") == len(paths)


def test_a_log_that_cannot_be_written_ends_one_connection_and_no_lookup_of_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the log is full: the request fails whose line could not be written, and the readers go on."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(ENOSPC, "no space left")

    async def ask(runner: LookupRunner) -> tuple[bool, bytes]:
        protocol = runner.server()
        transport = MemoryTransport(protocol)
        await asyncio.sleep(0)
        transport.feed(REQUEST)
        await _answered(protocol, transport)
        closed = transport.closed
        transport.close()
        await asyncio.sleep(0)
        return closed, transport.written[:15]

    with servers(settings) as (loop, direct, _):
        with monkeypatch.context() as patch:
            patch.setattr("lookup.orders.direct_lookup.write_access_line", fail)
            assert loop.run(ask(direct)) == (True, b"")
        assert loop.run(ask(direct)) == (False, b"HTTP/1.1 200 OK")


def test_a_closed_connection_is_freed_at_once(settings: Settings) -> None:
    """It is in no cycle that would wait for the garbage collector."""

    async def ask(runner: LookupRunner) -> None:
        protocol: Any = runner.server()
        transport = MemoryTransport(protocol)
        await asyncio.sleep(0)
        transport.feed(REQUEST)
        await _answered(protocol, transport)
        transport.close()
        await _ended(protocol)

    with servers(settings) as (loop, direct, _):
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                loop.run(ask(direct))
            # The readers remember their last batch until the next one.
            assert sum(isinstance(each, DirectHandler) for each in gc.get_objects()) <= 1
        finally:
            gc.enable()


def test_a_slow_reader_is_answered_no_further_until_it_reads(settings: Settings) -> None:
    """What it has asked for meanwhile waits, and so does what it sends; nothing of it is lost."""
    asked = 200

    async def ask(runner: LookupRunner) -> None:
        protocol = runner.server()
        transport = MemoryTransport(protocol, reads=False)
        await transport.feed_until_paused(REQUEST, asked)
        for _ in range(100):
            await asyncio.sleep(0.001)
        answered = transport.written.count(b"HTTP/1.1 200 OK")
        assert answered < asked
        assert len(transport.written) < 2 * UNCOUNTED_BYTES
        transport.read_on()
        await _answered(protocol, transport)
        assert transport.written.count(b"HTTP/1.1 200 OK") == asked
        transport.close()
        await asyncio.sleep(0)

    with servers(settings) as (loop, direct, _):
        loop.run(ask(direct))


def test_a_stop_waits_for_the_answer_in_progress(settings: Settings) -> None:
    """It is sent whole, and the connection closes behind it."""

    async def stop() -> None:
        async with lookup_runner(settings) as runner:
            protocol = runner.server()
            transport = MemoryTransport(protocol)
            await asyncio.sleep(0)
            transport.feed(REQUEST)
            assert protocol._busy
        assert transport.closed
        assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert transport.written.endswith(b'Z"}')

    with servers(settings) as (loop, _, _):
        loop.run(stop())


def test_a_lookup_in_progress_outlives_both_times_of_a_connection(settings: Settings) -> None:
    """The one for idle connections begins anew behind the answer, and then ends the connection."""

    async def wait() -> None:
        async with lookup_runner(settings, head_deadline_s=0.1, keepalive_s=0.1) as runner:
            protocol = runner.server()
            transport = MemoryTransport(protocol)
            await asyncio.sleep(0)
            protocol._route.take = lambda *_, **__: True
            transport.feed(REQUEST)
            await asyncio.sleep(0.25)
            assert not transport.closed
            protocol.answer(b"answer")
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(5):
                while not transport.closed:
                    await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began > 0.09
            assert transport.written == b"answer"

    with servers(settings) as (loop, _, _):
        loop.run(wait())
