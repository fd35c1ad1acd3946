"""Answers `GET /order/{order_uid}` on a `DirectHandler`: `lookup.routes.get_order` without aiohttp's objects.

Both must answer the same bytes: tests/integration/test_direct_lookups.py compares them.
"""

import re
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import hdrs

from engine.telemetry.trace_context import Traceparent
from lookup.orders.lookup import OrderLookup
from lookup.orders.uid import PREFIX, parse_order_uid
from lookup.serving.access_log import trace_id_in, write_access_line
from lookup.serving.admission import Admission
from lookup.serving.cors import UNNAMED, Cors
from lookup.serving.deadlines import Deadlines
from lookup.serving.direct import DirectHandler
from lookup.serving.heads import Date, head_template, render_answer
from lookup.serving.metrics import Metrics
from lookup.serving.middleware import answer_failure, report_defect
from lookup.serving.store_reader import StoresUnavailable

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

ROUTE = f"{PREFIX}{{order_uid}}"
NOT_FOUND = b'{"error":"order_not_found"}'
_PATH = re.compile(rf"{PREFIX}[^/?#]+")
_TIMING = {"Server-Timing": "total;dur=%.3f"}
_NOT_STORED = {"Cache-Control": "no-store"}
_JSON = {"Content-Type": "application/json"}


class _Heads:
    """The heads of the answers, ready for the numbers in them; all end with the headers `last`."""

    __slots__ = ("found", "last", "not_found")

    def __init__(self, last: Mapping[str, str]) -> None:
        self.last = last
        self.found = {
            (cached, closes): head_template(
                200,
                {**_TIMING, "X-Cache": "hit" if cached else "miss", **_NOT_STORED, **_JSON},
                closes=closes,
                last=last,
            )
            for cached in (True, False)
            for closes in (True, False)
        }
        self.not_found = {
            closes: head_template(404, {**_NOT_STORED, **_TIMING, **_JSON}, closes=closes, last=last)
            for closes in (True, False)
        }


class DirectLookups:
    """Begins and ends the requests of this route."""

    def __init__(
        self, lookup: OrderLookup, admission: Admission, metrics: Metrics, cors: Cors | None, deadline_s: float
    ) -> None:
        self._lookup = lookup
        self._admission = admission
        self._metrics = metrics
        self._deadlines = Deadlines(deadline_s)
        self._heads = _Heads({} if cors is None else UNNAMED)
        self._heads_for = None if cors is None else {name: _Heads(last) for name, last in cors.headers.items()}
        self.date = Date()

    def take(self, path: str, headers: "CIMultiDictProxy[str]", connection: DirectHandler, *, closes: bool) -> bool:
        """See `lookup.serving.direct.DirectRoute`. What is refused here, aiohttp's way refuses with an answer."""
        order_uid = parse_order_uid(path) if _PATH.fullmatch(path) else None
        if order_uid is None or not self._admission.enter():
            return False
        heads = self._heads
        if self._heads_for is not None:
            heads = self._heads_for.get(headers.get(hdrs.ORIGIN), heads)
        lookup = _DirectLookup(self, order_uid, trace_id_in(headers), connection, closes, heads)
        if not self._lookup.ask(lookup):
            self._admission.leave()
            return False
        self._deadlines.begin(lookup)
        return True

    def end(self, lookup: "_DirectLookup", status: int, traceparent: Traceparent | None, x_cache: str | None) -> None:
        """Count a request that was answered, and write its access line."""
        duration_s = perf_counter() - lookup.began_s
        self._deadlines.end(lookup)
        self._admission.leave()
        self._metrics.answered("GET", ROUTE, status, duration_s, x_cache)
        write_access_line(
            "GET",
            ROUTE,
            status,
            duration_s,
            order_uid=None if x_cache is None else lookup.order_uid,
            order_trace=traceparent,
            trace_id=lookup.trace_id,
            x_cache=x_cache,
        )


class _DirectLookup:
    """One request: a `FindOrder` that sends its answer itself."""

    __slots__ = ("_closes", "_connection", "_done", "_heads", "_lookups", "began_s", "order_uid", "trace_id")

    def __init__(
        self,
        lookups: DirectLookups,
        order_uid: str,
        trace_id: str | None,
        connection: DirectHandler,
        closes: bool,
        heads: _Heads,
    ) -> None:
        self.began_s = perf_counter()
        self.order_uid = order_uid
        self.trace_id = trace_id
        self._lookups = lookups
        self._connection = connection
        self._closes = closes
        self._heads = heads
        self._done = False

    def done(self) -> bool:
        """See `FindOrder`."""
        return self._done

    def answer(self, body: bytes | None, traceparent: Traceparent | None, *, cached: bool) -> None:
        """See `FindOrder`."""
        duration_ms, date = (perf_counter() - self.began_s) * 1000, self._lookups.date.now()
        if body is None:
            head = self._heads.not_found[self._closes] % (duration_ms, len(NOT_FOUND), date)
            self._end(404, head + NOT_FOUND)
        else:
            head = self._heads.found[cached, self._closes] % (duration_ms, len(body), date)
            self._end(200, head + body, traceparent, "hit" if cached else "miss")

    def fail(self, error: Exception) -> None:
        """See `FindOrder`."""
        answer = answer_failure(error)
        date = self._lookups.date.now()
        self._end(answer.status, render_answer(answer, date, closes=self._closes, last=self._heads.last))

    def expire(self) -> None:
        """Give up at the deadline. What the readers find afterwards is not sent."""
        self.fail(StoresUnavailable())

    def _end(
        self, status: int, data: bytes, traceparent: Traceparent | None = None, x_cache: str | None = None
    ) -> None:
        self._done = True
        try:
            self._lookups.end(self, status, traceparent, x_cache)
            self._connection.answer(data)
        except Exception as error:
            # The readers answer many requests one after the other: one connection, or a log that cannot be written,
            # must not fail the others.
            self._connection.force_close()
            report_defect(error)
