"""`/openapi.json` says what the server does, and the server does what it says."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest
import schemathesis
from lookup.application import create_application
from lookup.serving.description import describe_routes
from lookup.serving.options import Connections, LookupOptions
from lookup.serving.static import read_page

from orderflow.publishing.orders import OrderGenerator
from tests.support.lookup_server import UI
from tests.support.many_orders import store_many
from tests.support.programs import Programs
from tests.support.stored_orders import make_order, store_order

CONFIG = Path(__file__).with_name("schemathesis.toml")
FINISHES_WITHIN_S = 120
TOKEN = "a-test's-token"
EXAMPLE = "b563feb7b2b84b6test"
"""The uid that the description gives as an example."""


def test_every_route_is_described_and_nothing_else() -> None:
    """Path by path; the document is itself valid."""
    connections = Connections(postgres={}, redis=lambda: None, kafka={}, kafka_topic="", kafka_group="")  # type: ignore[arg-type,return-value]
    application = create_application(LookupOptions(ui_directory=UI, cache_ttl_s=1), connections)
    routes = {
        (resource.canonical, route.method.lower())
        for resource in application.router.resources()
        for route in resource
        if route.method != "HEAD"
    }
    description = describe_routes(read_page(UI))
    described = {(path, method) for path, methods in description["paths"].items() for method in methods}
    assert described == routes
    schemathesis.openapi.from_dict(description).validate()


WITH_SPANS = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
"""Nothing listens there. With spans, aiohttp itself answers lookups."""


@pytest.mark.parametrize(
    ("settings", "paths"),
    [({}, ("--exclude-path", "/operations/events")), (WITH_SPANS, ("--include-path", "/order/{order_uid}"))],
    ids=["every route", "lookups with spans"],  # the excluded answer has no end
)
async def test_the_server_keeps_to_its_description(
    orderflow: Programs,
    database: asyncpg.Connection,
    tmp_path: Path,
    settings: dict[str, str],
    paths: tuple[str, str],
) -> None:
    """Schemathesis asks for everything that is described, in every way that is allowed and in many that are not."""
    await store_order(database, make_order(OrderGenerator(5), order_uid=EXAMPLE))
    await store_many(database, "many-", 300)
    server = await orderflow.start("serve", ADMIN_TOKEN=TOKEN, **settings)
    url = (await server.wait_for("http_listening"))["url"]
    tester = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--url", url, "--seed", "1", "--no-color"),
        *("--max-examples", "40"),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *paths,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(tester.communicate(), FINISHES_WITHIN_S)
    finally:
        if tester.returncode is None:
            tester.kill()
            await tester.wait()
    assert tester.returncode == 0, output.decode()
    assert not server.seen("http_failed")
