"""Sends spans to a collector with OpenTelemetry's SDK. Imported only if spans are enabled.

Names of spans and attributes are those of the semantic conventions of `SCHEMA_URL`, for Kafka and for HTTP servers:
https://opentelemetry.io/docs/specs/semconv/. `orderflow.…` are our own.

The SDK reads its own environment variables. A thread of the SDK sends the spans from a bounded queue. Spans that do not
fit into the queue, or that the collector refuses, are dropped. Nothing waits for them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.records import Batch, Entry
from engine.telemetry.trace_context import (
    TRACESTATE,
    Traceparent,
    flags_of,
    is_sampled,
    is_tracestate,
    last_header,
    parent_id_of,
    trace_id_of,
    traceparent_of,
)
from engine.verdict import Rejected

T = TypeVar("T")
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions."""
SPANS_A_TURN = 25
"""How many spans are created before other tasks run. A span costs about as much as all other work for a record."""
KNOWN_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""The methods of the conventions. A client may send any other: it must not become a name."""
_SERVER_ERROR = 500
_HIDDEN = "REDACTED"
_EXPORTERS = (OTLPSpanExporter.__module__, "opentelemetry.exporter.otlp.common.http")
"""The loggers of the modules that send spans to the collector."""
_propagator = TraceContextTextMapPropagator()


def _name_errors(record: logging.LogRecord) -> bool:
    """Replace the errors in a log record by their type names: their texts contain the collector's URL and are long."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            type(argument).__name__ if isinstance(argument, BaseException) else argument for argument in record.args
        )
    return True


class Tracing:
    """Creates spans. No method raises or blocks because of the collector. Only `close` waits.

    `client_id` is the name by which Kafka's brokers know the client whose messages have spans.
    """

    def __init__(self, service: str, instance: str, version: str | None, client_id: str | None) -> None:
        # This logger prints headers that it cannot parse, and such a header may contain a password.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
        for name in _EXPORTERS:
            logging.getLogger(name).addFilter(_name_errors)
        from_environment = OTELResourceDetector().detect().attributes
        own = {"service.name": service, "service.instance.id": instance, "service.version": version}
        added = {name: value for name, value in own.items() if value is not None and name not in from_environment}
        resource = Resource.create(added, SCHEMA_URL)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("orderflow", version, SCHEMA_URL)
        self._client = {} if client_id is None else {"messaging.client.id": client_id}

    async def batch_committed(
        self, batch: Batch[T], group: str, subject_of: Callable[[T], str | None], committed_ns: int
    ) -> None:
        """Create a span, from consumed to committed, for each record whose trace is sampled.

        Its parent is the span of the producer, to which it is linked, too. `committed_ns` is in nanoseconds since 1970.
        """
        consumed_ns = round(batch.consumed_at.timestamp() * 1e6) * 1000
        shared = {
            **self._kafka(batch.topic, "process"),
            "messaging.consumer.group.name": group,
            "orderflow.batch.id": str(batch.batch_id),
        }
        sampled = [
            (entry, traceparent)
            for entry in batch.entries
            if (traceparent := traceparent_of(entry.record)) and is_sampled(traceparent)
        ]
        for made, (entry, traceparent) in enumerate(sampled, 1):
            producer = _span_context(traceparent, last_header(entry.record.headers, TRACESTATE))
            span = self._tracer.start_span(
                f"process {batch.topic}",
                _below(producer),
                SpanKind.CONSUMER,
                {**shared, **_about(entry, subject_of)},
                links=(Link(producer),),
                start_time=consumed_ns,
            )
            if isinstance(entry.value, Rejected):
                span.set_status(StatusCode.ERROR, entry.value.reason)
            span.end(committed_ns)
            if made % SPANS_A_TURN == 0:
                await asyncio.sleep(0)

    def sending(self, topic: str) -> tuple[Span, list[tuple[str, bytes]]]:
        """Start a trace for a message to `topic`. Returns the span, for `sent`, and the message's trace headers."""
        span = self._tracer.start_span(f"send {topic}", Context(), SpanKind.PRODUCER, self._kafka(topic, "send"))
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(span, Context()))
        return span, [(name, value.encode()) for name, value in carrier.items()]

    def sent(self, span: Span, answer: "asyncio.Future[Any]") -> None:
        """End the span of a message. `answer` is done: it has the record's partition and offset, or the error."""
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
        if error is None:
            place = answer.result()
            span.set_attributes(_place(place.partition, place.offset))
        else:
            _fail(span, type(error).__name__)
        span.end()

    def serving(self, method: str, route: str | None, traceparent: Traceparent | None, state: str | None) -> Span:
        """Start the span of an HTTP request. `route` is the pattern of the route, and stands for the path, too.

        The path itself is not recorded, because it may contain personal data.
        """
        attributes = {"http.request.method": method, "url.scheme": "http", "url.path": route or _HIDDEN}
        name = method
        if method not in KNOWN_METHODS:
            name = "HTTP"
            attributes |= {"http.request.method": "_OTHER", "http.request.method_original": method}
        if route is not None:
            name = f"{name} {route}"
            attributes["http.route"] = route
        parent = Context()
        if traceparent is not None:
            parent = _below(_span_context(traceparent, None if state is None else state.encode()))
        return self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)

    def served(self, span: Span, status: int | None, linked: Traceparent | None, attributes: Mapping[str, str]) -> None:
        """End the span of a request. `status` is None if nothing was answered.

        `linked` is the trace that its answer is about: it becomes a link of the span.
        """
        span.set_attributes(attributes)
        if linked is not None:
            span.add_link(_span_context(linked))
        if status is None:
            _fail(span, "aborted")
        else:
            span.set_attribute("http.response.status_code", status)
            if status >= _SERVER_ERROR:
                _fail(span, str(status))
        span.end()

    def trace_id(self, span: Span) -> str:
        """Return the trace id of a span: 32 hexadecimal digits."""
        return format_trace_id(span.get_span_context().trace_id)

    def _kafka(self, topic: str, operation: str) -> dict[str, str]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": topic,
            **self._client,
        }

    async def close(self, timeout_s: float) -> None:
        """Send the remaining spans. Waits for at most `timeout_s` seconds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the event loop is already closed
                loop.call_soon_threadsafe(done.set)

        # A daemon thread, because the SDK may take longer than a drain may last.
        Thread(target=stop, name="spans-stop", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await done.wait()


def _place(partition: int, offset: int) -> dict[str, str | int]:
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def _about(entry: Entry[T], subject_of: Callable[[T], str | None]) -> dict[str, str | int]:
    value, attributes = entry.value, _place(entry.record.partition, entry.record.offset)
    if entry.record.value is None:
        attributes["messaging.kafka.message.tombstone"] = True
    if isinstance(value, Rejected):
        attributes["error.type"] = value.reason
    subject = value.subject if isinstance(value, Rejected) else subject_of(value)
    if subject is not None:
        attributes["orderflow.subject"] = subject
    return attributes


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _span_context(traceparent: Traceparent, state: bytes | None = None) -> SpanContext:
    members = [state.decode()] if state is not None and is_tracestate(state) else []
    return SpanContext(
        trace_id=int(trace_id_of(traceparent), 16),
        span_id=int(parent_id_of(traceparent), 16),
        is_remote=True,
        trace_flags=TraceFlags(flags_of(traceparent)),
        trace_state=TraceState.from_header(members),
    )


def _below(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context())
