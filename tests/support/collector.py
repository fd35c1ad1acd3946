"""A collector that receives spans over OTLP/HTTP on loopback, in the process of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.eventually import eventually


@attrs.define
class Span:
    """A received span. `attributes` and `resource` are dictionaries of plain values, ids are hexadecimal.

    `schemas` are the URLs of the conventions that its resource and its scope follow.
    """

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: list[tuple[str, str]]
    schemas: tuple[str, str]


@attrs.define
class Collector:
    """The spans received so far. `endpoint` is for OTEL_EXPORTER_OTLP_ENDPOINT. A `silent` collector never answers."""

    endpoint: str = ""
    silent: bool = False
    spans: list[Span] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)

    def named(self, name: str) -> list[Span]:
        """Return the spans of this name."""
        return [span for span in self.spans if span.name == name]

    async def wait_for(self, name: str, count: int = 1) -> list[Span]:
        """Wait until `count` spans of this name have arrived, and return them."""

        async def found() -> int:
            return len(self.named(name))

        await eventually(found, lambda number: number >= count)
        return self.named(name)

    async def take(self, request: web.Request) -> web.Response:
        """Receive one export request."""
        if self.silent:
            self.headers.append(dict(request.headers))
            await asyncio.Event().wait()
        export = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        for of_resource in export.resource_spans:
            resource = _plain(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                schemas = of_resource.schema_url, scope.schema_url
                self.spans += [_span(span, resource, schemas) for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    made = Collector()
    application = web.Application(client_max_size=16 << 20)
    application.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.endpoint = f"http://127.0.0.1:{site.port}"
        yield made
    finally:
        await runner.cleanup()


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _span(span: Any, resource: dict[str, Any], schemas: tuple[str, str]) -> Span:
    return Span(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        begin_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_plain(span.attributes),
        resource=resource,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        schemas=schemas,
    )
