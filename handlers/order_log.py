"""The log of orders: every order's uid at level info, with its batch, partition and offset, up to 100 orders a line."""

from itertools import groupby
from typing import Any

import structlog

from engine.records import Batch, Entry, Written
from engine.verdict import Rejected
from handlers.events import BATCH_COMMITTED, ORDER_REJECTED, ORDERS_COMMITTED
from handlers.prepared import PreparedOrder

ORDERS_A_LINE = 100


def log_batch(batch: Batch[PreparedOrder], written: Written) -> None:
    """Log a committed batch. No name, phone, address or e-mail is ever among the fields."""
    log = structlog.get_logger().bind(batch_id=str(batch.batch_id), topic=batch.topic)
    for partition, group in groupby(batch.entries, key=lambda entry: entry.record.partition):
        accepted: list[Entry[PreparedOrder]] = []
        for entry in group:
            if isinstance(entry.value, Rejected):
                _log_rejected(log, entry.record, entry.value)
            else:
                accepted.append(entry)
        for start in range(0, len(accepted), ORDERS_A_LINE):
            line = accepted[start : start + ORDERS_A_LINE]
            log.info(
                ORDERS_COMMITTED,
                partition=partition,
                offset=line[0].record.offset,
                last_offset=line[-1].record.offset,
                order_uids=[entry.value.order_uid for entry in line],  # type: ignore[union-attr]
            )
    log.info(
        BATCH_COMMITTED,
        messages=len(batch.entries),
        inserted=written.inserted,
        changed=written.changed,
        unchanged=written.unchanged,
        rejected=len(batch.rejected()),
    )


def _log_rejected(log: Any, record: Any, verdict: Rejected) -> None:
    log.warning(
        ORDER_REJECTED,
        order_uid=verdict.subject,
        partition=record.partition,
        offset=record.offset,
        reason=verdict.reason,
        fields=[error.path for error in verdict.errors][:20],
    )
