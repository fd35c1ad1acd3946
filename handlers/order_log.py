"""Logs the orders of a batch at level info: uids, batch, partition and offsets, with up to 100 orders per line."""

from collections.abc import Sequence
from typing import Any

import structlog

from engine.records import Batch, Entry, Record, Written, by_partition
from engine.telemetry.frequent_line import FrequentLine
from engine.telemetry.trace_context import trace_id_of, traceparent_of
from engine.verdict import Rejected
from handlers.events import BATCH_COMMITTED, ORDER_REJECTED, ORDERS_COMMITTED
from handlers.prepared import PreparedOrder

ORDERS_A_LINE = 100
_orders, _batches = FrequentLine(ORDERS_COMMITTED), FrequentLine(BATCH_COMMITTED)


def log_batch(batch: Batch[PreparedOrder], written: Written) -> None:
    """Log a committed batch. The fields never contain a name, phone number, address or e-mail address.

    `trace_ids` has the trace id of each message or null, in the same order as `order_uids`. It is left out if no
    message of the line has a trace.
    """
    common = {"batch_id": str(batch.batch_id), "topic": batch.topic}
    rejected = batch.rejected()
    for entries in by_partition(batch.entries):
        accepted = entries
        if rejected:
            log = structlog.get_logger().bind(**common)
            accepted = [entry for entry in entries if not isinstance(entry.value, Rejected)]
            for entry in entries:
                if isinstance(entry.value, Rejected):
                    _log_rejected(log, entry.record, entry.value)
        for start in range(0, len(accepted), ORDERS_A_LINE):
            line = accepted[start : start + ORDERS_A_LINE]
            _orders.write(
                {
                    **common,
                    "partition": line[0].record.partition,
                    "offset": line[0].record.offset,
                    "last_offset": line[-1].record.offset,
                    "order_uids": [entry.value.order_uid for entry in line],  # type: ignore[union-attr]
                    **_traces(line),
                }
            )
    _batches.write(
        {
            **common,
            "messages": len(batch.entries),
            "inserted": written.inserted,
            "changed": written.changed,
            "unchanged": written.unchanged,
            "rejected": len(rejected),
        }
    )


def _traces(line: Sequence[Entry[PreparedOrder]]) -> dict[str, list[str | None]]:
    found = [traceparent_of(entry.record) for entry in line]
    return {"trace_ids": [each and trace_id_of(each) for each in found]} if any(found) else {}


def _log_rejected(log: Any, record: Record, verdict: Rejected) -> None:
    traceparent = traceparent_of(record)
    log.warning(
        ORDER_REJECTED,
        order_uid=verdict.subject,
        partition=record.partition,
        offset=record.offset,
        reason=verdict.reason,
        fields=[error.path for error in verdict.errors][:20],
        **({"trace_id": trace_id_of(traceparent)} if traceparent else {}),
    )
