"""Spans that arrive at a collector, and what an absent one does to the rest: nothing."""

import pkgutil
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import asyncpg
import pytest
from aiohttp import ClientSession
from opentelemetry.semconv._incubating import attributes
from opentelemetry.semconv.schemas import Schemas

from engine.kafka.group_members import GroupMembers
from engine.telemetry.trace_context import new_traceparent, parent_id_of, trace_id_of
from engine.telemetry.tracing import FLUSH_S
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.collector import Collector, Span, collector
from tests.support.eventually import eventually
from tests.support.letters import message
from tests.support.programs import Programs, Running
from tests.support.topic import send

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVER, PRODUCER, CONSUMER = 2, 4, 5
CONVENTIONS = {
    name
    for module in pkgutil.iter_modules(attributes.__path__, f"{attributes.__name__}.")
    for name in vars(import_module(module.name)).values()
    if isinstance(name, str)
}
"""The attributes that the semantic conventions know, and some other texts."""
OWN = {"orderflow.batch.id", "orderflow.cache", "orderflow.subject"}
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture
async def collected() -> AsyncIterator[Collector]:
    async with collector() as running:
        yield running


async def started_engine(orderflow: Programs, **environment: str) -> Running:
    running = await orderflow.start("engine", "--workers", "1", **environment)
    await running.wait_for("partition_opened", count=4)
    return running


async def stored(database: asyncpg.Connection, count: int) -> None:
    await eventually(lambda: database.fetchval("SELECT count(*) FROM orders"), count.__eq__)


async def test_one_trace_leads_from_the_publisher_to_the_commit_and_to_the_lookup(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, collected: Collector
) -> None:
    """Each span is a child of the one that sent it; a lookup's, which has a trace of its own, is linked to it."""
    environment = {
        ENDPOINT: collected.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-token=abc",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        **QUICK,
    }
    await started_engine(orderflow, **environment)
    published = await orderflow.run("publish", "3", **environment)
    uids = published.stdout.splitlines()[1:-1]
    sent = await collected.wait_for(f"send {settings.kafka_topic}", 3)
    processed = await collected.wait_for(f"process {settings.kafka_topic}", 3)
    assert collected.headers[0]["x-token"] == "abc"
    assert sent[0].resource["service.name"] == "orderflow-publish"
    assert sent[0].resource["deployment.environment.name"] == "test"

    by_trace = {span.trace_id: span for span in sent}
    assert len(by_trace) == len(processed) == 3
    for span in processed:
        parent = by_trace[span.trace_id]
        assert (parent.kind, parent.parent_id, parent.failed) == (PRODUCER, "", False)
        assert (span.kind, span.parent_id, span.failed) == (CONSUMER, parent.span_id, False)
        assert span.links == [(parent.trace_id, parent.span_id)]
        assert parent.begin_ns < span.begin_ns < span.end_ns
        row = await database.fetchrow(
            "SELECT order_uid, batch_id::text, source_partition, source_offset FROM orders WHERE traceparent LIKE $1",
            f"00-{span.trace_id}-{parent.span_id}-%",
        )
        assert row is not None
        told = span.attributes
        assert (told["orderflow.subject"], told["orderflow.batch.id"]) == tuple(row)[:2]
        place = (told["messaging.destination.partition.id"], told["messaging.kafka.offset"])
        assert place == (str(row["source_partition"]), row["source_offset"])
        assert place == (
            parent.attributes["messaging.destination.partition.id"],
            parent.attributes["messaging.kafka.offset"],
        )
        assert told["messaging.consumer.group.name"] == settings.kafka_group_id
        assert span.resource["service.name"] == "orderflow-engine"
        assert parent.attributes["messaging.client.id"] == "orderflow-publish"
        assert told["messaging.client.id"] == await client_id_of_the_worker(settings)

    server = await orderflow.start("serve", OTEL_SERVICE_NAME="shop", **environment)
    url = (await server.wait_for("http_listening"))["url"]
    asked = new_traceparent()
    async with ClientSession(url) as client:
        async with client.get(f"/order/{uids[0]}", headers={"traceparent": asked}) as answer:
            assert answer.status == 200
        async with client.get("/no-such-page") as answer:
            assert answer.status == 404
        async with client.request("PROPFIND", "/no-such-page") as answer:
            assert answer.status in {404, 405}
    [span] = await collected.wait_for("GET /order/{order_uid}")
    traced = await database.fetchval("SELECT traceparent FROM orders WHERE order_uid = $1", uids[0])
    assert (span.kind, span.trace_id, span.parent_id) == (SERVER, trace_id_of(asked), parent_id_of(asked))
    assert span.links == [(trace_id_of(traced), parent_id_of(traced))]
    assert (span.attributes["http.response.status_code"], span.resource["service.name"]) == (200, "shop")
    [lost] = await collected.wait_for("GET")
    line = await server.wait_for("http_request", status=404)
    assert (line["trace_id"], lost.parent_id, lost.failed) == (lost.trace_id, "", False)
    assert "no-such-page" not in str(collected.spans)
    [odd] = await collected.wait_for("HTTP")
    assert odd.attributes["http.request.method_original"] == "PROPFIND"
    follow_the_conventions(collected.spans)


def follow_the_conventions(spans: list[Span]) -> None:
    assert {name for span in spans for name in (*span.attributes, *span.resource)} <= CONVENTIONS | OWN
    assert {span.schemas for span in spans} == {(Schemas.V1_44_0.value,) * 2}
    assert {span.resource["service.version"] for span in spans} == {version("orderflow")}


async def client_id_of_the_worker(settings: Settings) -> str:
    members = GroupMembers(kafka_options(settings), settings.kafka_group_id, settings.kafka_topic, deadline_s=5)
    try:
        [member] = await members.fetch()
    finally:
        await members.close()
    return member.client_id


async def test_a_poll_has_a_span_only_if_it_belongs_to_a_sampled_trace(
    orderflow: Programs, collected: Collector
) -> None:
    """Health checks and scrapes would otherwise be most of the traces. Their access lines are written all the same."""
    server = await orderflow.start("serve", **{ENDPOINT: collected.endpoint, **QUICK})
    url = (await server.wait_for("http_listening"))["url"]
    polled = ("/healthz", "/livez", "/readyz", "/metrics")
    unsampled, sampled = new_traceparent()[:-2] + "00", new_traceparent()
    async with ClientSession(url) as client:

        async def poll(path: str, **headers: str) -> None:
            async with client.get(path, headers=headers) as answer:
                assert answer.status in {200, 503}

        for path in polled:
            await poll(path)
            await poll(path, traceparent=unsampled)
        for path in polled:
            await poll(path, traceparent=sampled)
    await collected.wait_for(f"GET {polled[-1]}")
    assert [span.name for span in collected.spans] == [f"GET {path}" for path in polled]
    assert {span.trace_id for span in collected.spans} == {trace_id_of(sampled)}
    assert len(server.seen("http_request", trace_id=trace_id_of(unsampled))) == len(polled)


async def test_only_a_sampled_message_has_a_span_and_a_rejected_one_failed(
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
    collected: Collector,
) -> None:
    """Who sent it has decided whether it is recorded. The spans still waiting when the engine stops arrive, too."""
    engine = await started_engine(orderflow, **{ENDPOINT: collected.endpoint, "OTEL_TRACES_SAMPLER": "always_on"})
    sampled, unsampled = new_traceparent(), new_traceparent()[:-2] + "00"
    await send(settings, message(orders.order()), headers=[("traceparent", unsampled.encode())])
    await send(settings, message(orders.order()))
    await send(settings, (b"key", b"{"), headers=[("traceparent", sampled.encode())])
    await stored(database, 2)
    await send(settings, (b"key", None), headers=[("traceparent", sampled.encode())])
    await eventually(lambda: database.fetchval("SELECT count(*) FROM dead_letters"), (2).__eq__)
    assert await engine.stop() == 0
    tombstone = "messaging.kafka.message.tombstone"
    span, empty = sorted(collected.spans, key=lambda span: tombstone in span.attributes)
    assert (span.trace_id, span.parent_id, span.failed) == (trace_id_of(sampled), parent_id_of(sampled), True)
    assert span.attributes["error.type"] == "invalid_json"
    assert (empty.trace_id, empty.attributes[tombstone], empty.failed) == (trace_id_of(sampled), True, True)


@pytest.fixture
def imports(tmp_path: Path) -> Callable[[], dict[str, bool]]:
    """Let each Python that a test starts with PYTHONPATH say at its end whether it has imported OpenTelemetry."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, pathlib, sys\n"
        "def tell():\n"
        "    name = f'{os.path.dirname(os.path.abspath(__file__))}/imports-{os.getpid()}'\n"
        "    pathlib.Path(name).write_text(' '.join(sys.argv[1:3]) + ':' + str('opentelemetry' in sys.modules))\n"
        "atexit.register(tell)\n"
    )

    def read() -> dict[str, bool]:
        told = [path.read_text().rsplit(":", 1) for path in tmp_path.glob("imports-*")]
        return {command: imported == "True" for command, imported in told}

    return read


@pytest.mark.parametrize("on", [False, True])
async def test_without_the_variables_nothing_of_opentelemetry_is_imported(
    orderflow: Programs, collected: Collector, imports: Callable[[], dict[str, bool]], tmp_path: Path, on: bool
) -> None:
    """Neither by a worker nor by a server nor by the publisher; with them, by those that make spans alone."""
    environment = {"PYTHONPATH": str(tmp_path), **({ENDPOINT: collected.endpoint} if on else {})}
    engine = await started_engine(orderflow, **environment)
    server = await orderflow.start("serve", **environment)
    await server.wait_for("http_listening")
    assert (await orderflow.run("publish", "1", **environment)).returncode == 0
    assert (await server.stop(), await engine.stop()) == (0, 0)
    told = imports()
    assert {command.split()[0]: imported for command, imported in told.items() if command} == {
        "engine": on,  # it finds out whether it is installed
        "worker": on,
        "serve": on,
        "publish": on,
    }


async def test_a_publisher_says_in_one_line_that_the_collector_is_away(orderflow: Programs) -> None:
    """Once, without the text of the libraries below, which quotes the address; the orders are published."""
    published = await orderflow.run("publish", "300", **{ENDPOINT: "http://127.0.0.1:9/private-path", **QUICK})
    assert published.returncode == 0
    [line] = published.stderr.splitlines()
    assert line.startswith("orderflow: sending spans to the collector failed: Transient error ConnectionError ")
    assert "private-path" not in line


@pytest.mark.long
async def test_a_collector_that_is_away_or_silent_holds_up_nothing(
    orderflow: Programs, database: asyncpg.Connection, collected: Collector
) -> None:
    """Orders are stored, lookups answered, and both processes end in time with exit code 0; it is said, not often."""
    collected.silent = True
    engine = await started_engine(orderflow, **{ENDPOINT: collected.endpoint, **QUICK})
    server = await orderflow.start("serve", **{ENDPOINT: "http://127.0.0.1:9", **QUICK})
    url = (await server.wait_for("http_listening"))["url"]
    published = await orderflow.run("publish", "3000", "--traceparent", "random")
    assert published.returncode == 0
    await stored(database, 3000)
    assert await database.fetchval("SELECT count(DISTINCT traceparent) FROM orders") == 3000
    uid = published.stdout.splitlines()[1]
    async with ClientSession(url) as client, client.get(f"/order/{uid}") as answer:
        assert answer.status == 200
    assert "http" not in (await server.wait_for("library_message"))["message"]
    began = monotonic()
    assert (await server.stop(), await engine.stop()) == (0, 0)
    assert monotonic() - began < 2 * FLUSH_S + 6
    assert collected.headers
    assert len(server.seen("library_message")) < 10
    assert not engine.seen("drain_incomplete")
