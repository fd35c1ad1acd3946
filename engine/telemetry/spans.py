"""Sends spans to a collector with OpenTelemetry's SDK. Imported only if spans are enabled.

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
SPANS_A_TURN = 25
"""How many spans are created before other tasks run. A span costs about as much as all other work for a record."""
_SERVER_ERROR = 500
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
    """Creates spans. No method raises or blocks because of the collector. Only `close` waits."""

    def __init__(self, service: str, instance: str) -> None:
        # This logger prints headers that it cannot parse, and such a header may contain a password.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
        for name in _EXPORTERS:
            logging.getLogger(name).addFilter(_name_errors)
        from_environment = OTELResourceDetector().detect().attributes
        own = {"service.name": service, "service.instance.id": instance}
        resource = Resource.create({name: value for name, value in own.items() if name not in from_environment})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("orderflow")

    async def batch_committed(
        self, batch: Batch[T], group: str, subject_of: Callable[[T], str | None], committed_ns: int
    ) -> None:
        """Create a span, from consumed to committed, for each record whose trace is sampled.

        Its parent is the span of the producer. `committed_ns` is in nanoseconds since 1970.
        """
        consumed_ns = round(batch.consumed_at.timestamp() * 1e6) * 1000
        shared = {
            **_kafka(batch.topic, "process"),
            "messaging.consumer.group.name": group,
            "orderflow.batch.id": str(batch.batch_id),
        }
        sampled = [
            (entry, traceparent)
            for entry in batch.entries
            if (traceparent := traceparent_of(entry.record)) and is_sampled(traceparent)
        ]
        for made, (entry, traceparent) in enumerate(sampled, 1):
            attributes = {**shared, **_about(entry, subject_of)}
            span = self._tracer.start_span(
                f"process {batch.topic}",
                _context(traceparent, last_header(entry.record.headers, TRACESTATE)),
                SpanKind.CONSUMER,
                attributes,
                start_time=consumed_ns,
            )
            if isinstance(entry.value, Rejected):
                span.set_status(StatusCode.ERROR, entry.value.reason)
            span.end(committed_ns)
            if made % SPANS_A_TURN == 0:
                await asyncio.sleep(0)

    def sending(self, topic: str) -> tuple[Span, list[tuple[str, bytes]]]:
        """Start a trace for a message to `topic`. Returns the span, for `sent`, and the message's trace headers."""
        span = self._tracer.start_span(f"send {topic}", Context(), SpanKind.PRODUCER, _kafka(topic, "send"))
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
        """Start the span of an HTTP request. `route` is the pattern of the route. The path itself is not recorded."""
        attributes = {"http.request.method": method, "url.scheme": "http"}
        if route is not None:
            attributes["http.route"] = route
        parent = Context() if traceparent is None else _context(traceparent, None if state is None else state.encode())
        return self._tracer.start_span(f"{method} {route or ''}".strip(), parent, SpanKind.SERVER, attributes)

    def served(self, span: Span, status: int, linked: Traceparent | None, attributes: Mapping[str, str]) -> None:
        """End the span of a request. `linked` is the trace that its answer is about: it becomes a link of the span."""
        span.set_attributes({"http.response.status_code": status, **attributes})
        if linked is not None:
            span.add_link(_span_context(linked))
        if status >= _SERVER_ERROR:
            _fail(span, str(status))
        span.end()

    def trace_id(self, span: Span) -> str:
        """Return the trace id of a span: 32 hexadecimal digits."""
        return format_trace_id(span.get_span_context().trace_id)

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


def _kafka(topic: str, operation: str) -> dict[str, str]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }


def _place(partition: int, offset: int) -> dict[str, str | int]:
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def _about(entry: Entry[T], subject_of: Callable[[T], str | None]) -> dict[str, str | int]:
    value, attributes = entry.value, _place(entry.record.partition, entry.record.offset)
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


def _context(traceparent: Traceparent, state: bytes | None) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(traceparent, state)), Context())
