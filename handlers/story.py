"""Reads the story of an order from PostgreSQL: its message, its batch, the times of its steps and its dead letters.

The content of the order is not read. An order's row has the partition and offset of its latest message, and the id of
the batch that wrote its current version. The latest message may be from a later batch: if its content equals the stored
content, only the partition and offset are updated. The row of the batch may have been deleted. Unknown values are None.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from msgspec import Struct

from engine.records import known_time
from engine.telemetry.trace_context import parse_traceparent, trace_id_of
from handlers.reader import Queryable

MAX_LETTERS = 100
"""How many dead letters a story contains: the ones that failed last."""
MESSAGE, REPEAT, REPLAY = "message", "repeat", "replay"
STEPS = ("published", "consumed", "validated", "committed", "cached")

# One statement uses one snapshot. The result has one row per dead letter, and each repeats the order's columns. The
# offsets of a batch in one partition are contiguous. If the batch resolved a dead letter, `resolved_at` is just before
# the commit of the batch.
_SELECT = f"""
SELECT o.order_uid IS NOT NULL AS stored, o.created_at, o.updated_at, o.batch_id, o.traceparent,
       o.source_topic, o.source_partition, o.source_offset, o.source_epoch, o.produced_at,
       b.batch_id IS NOT NULL AS batch_kept, b.topic, b.consumer_group, b.worker, b.host,
       -- In a shared row this time is estimated: after the message was produced, and before it was validated.
       CASE WHEN b.worker_clock IS NULL THEN b.consumed_at
            ELSE least(greatest(b.consumed_at + later, o.produced_at), b.validated_at + later) END AS consumed_at,
       b.validated_at + later AS validated_at,
       b.committed_at + later AS committed_at,
       -- Rows that are older than the table cached_batches have this time in b.cached_at. In later rows it equals
       -- committed_at.
       coalesce(c.cached_at, CASE WHEN b.cached_at > b.committed_at THEN b.cached_at END) + later AS cached_at,
       b.messages, b.inserted, b.changed, b.unchanged, b.rejected,
       o.produced_at <= sharing.ended_at AS produced_before_its_end,
       (o.source_topic IS NULL OR o.source_topic = b.topic) AND (EXISTS (
           SELECT FROM jsonb_to_recordset(b.sources) AS s (partition int, first_offset bigint, last_offset bigint)
           WHERE s.partition = o.source_partition AND o.source_offset BETWEEN s.first_offset AND s.last_offset
       -- In a shared row that is not complete yet, the offsets are unknown.
       ) OR CASE WHEN sharing.ended_at = 'infinity' OR o.updated_at - b.worker_clock > b.ended_at - b.committed_at
                  THEN NULL ELSE false END) AS offset_in_batch,
       EXISTS (
           SELECT FROM dead_letters r
           WHERE r.topic = coalesce(o.source_topic, b.topic) AND r.partition = o.source_partition
             AND r.kafka_offset = o.source_offset AND r.resolved_at <= sharing.ended_at
       ) AS letter_resolved_in_batch,
       d.topic AS letter_topic, d.partition AS letter_partition, d.kafka_offset AS letter_offset,
       d.reason AS letter_reason, d.produced_at AS letter_produced_at, d.failed_at AS letter_failed_at,
       d.replay_count AS letter_replay_count, d.replayed_at AS letter_replayed_at, d.resolved_at AS letter_resolved_at
FROM (SELECT $1::text AS uid) AS asked
LEFT JOIN orders o ON o.order_uid = asked.uid
LEFT JOIN batches b ON b.batch_id = o.batch_id
LEFT JOIN cached_batches c ON c.batch_id = b.batch_id
CROSS JOIN LATERAL (
    SELECT coalesce(b.ended_at, b.committed_at) AS ended_at,
           -- A shared row has the times of its first batch. This is how much later the order was written.
           CASE WHEN b.worker_clock IS NULL THEN interval '0'
                ELSE least(greatest(o.updated_at - b.worker_clock, interval '0'), interval '250 ms') END AS later
) AS sharing
LEFT JOIN LATERAL (
    SELECT * FROM dead_letters WHERE subject = asked.uid
    ORDER BY failed_at DESC, topic DESC, partition DESC, kafka_offset DESC LIMIT {MAX_LETTERS + 1}
) d ON true
ORDER BY d.failed_at, d.topic, d.partition, d.kafka_offset
"""


class Source(Struct, kw_only=True):
    """The order's latest message.

    `produced_at` is the timestamp from Kafka. It is never before the timestamp of the order's earlier messages. It is
    None if the message had no timestamp.

    `came_as` says how the message belongs to the stored version. None if the batch is unknown.

    - "message": the stored version was written from this message
    - "replay": it was written from a replay of the dead letter at this partition and offset
    - "repeat": this is a later message with the content that was already stored

    `topic` is None if it is unknown: older builds did not store the topic, and the batch does not have it either.
    """

    topic: str | None
    partition: int
    offset: int
    epoch: int
    produced_at: datetime | None
    came_as: str | None


class WrittenBy(Struct, kw_only=True):
    """The batch that wrote the stored version: its topic, group, worker and host, and its counts of messages."""

    topic: str
    consumer_group: str
    worker: str
    host: str
    messages: int
    inserted: int
    changed: int
    unchanged: int
    rejected: int


class StoryStep(Struct, kw_only=True):
    """One of `STEPS`, its time, and the milliseconds since the step before it and since the first step.

    - `published`: when the message was produced, by the clock of the producer or the broker
    - `consumed`, `validated`: times of the batch, by the worker's clock
    - `committed`: time of the batch, by the clock of PostgreSQL
    - `cached`: since this time the cache has no body that is older than the batch. By the clock of PostgreSQL

    Small batches that follow each other within a quarter of a second share a row, which has the times of the first one.
    The times of the other batches are estimated from them, with an error of at most a quarter of a second; `cached` is
    when the first one was. Differences may be negative if the clocks differ.
    """

    step: str
    at: datetime | None
    after_ms: float | None
    since_published_ms: float | None


class Letter(Struct, kw_only=True):
    """A dead letter of the order, without its payload. `produced_at` is None if the message had no timestamp."""

    topic: str
    partition: int
    offset: int
    reason: str
    produced_at: datetime | None
    failed_at: datetime
    replay_count: int
    replayed_at: datetime | None
    resolved_at: datetime | None


class Story(Struct, kw_only=True):
    """The story of an order. If the order is not `stored`, there are only dead letters and no steps.

    - `trace_id`: 32 hexadecimal digits, from the message that the stored version was written from. None if it had none
    - `batch`: None if the batch's row was deleted. In this case `batch_id` is still set
    - `dead_letters`: in the order in which they failed
    - `more_dead_letters`: earlier dead letters are left out
    """

    order_uid: str
    stored: bool
    created_at: datetime | None
    updated_at: datetime | None
    trace_id: str | None
    batch_id: UUID | None
    batch: WrittenBy | None
    source: Source | None
    steps: list[StoryStep]
    dead_letters: list[Letter]
    more_dead_letters: bool


async def fetch_story(connection: Queryable, order_uid: str, timeout_s: float | None = None) -> Story | None:
    """Return the story of an order, or None if no order and no dead letter has this uid."""
    rows = await connection.fetch(_SELECT, order_uid, timeout=timeout_s)
    return tell(order_uid, rows)


def tell(order_uid: str, rows: list[Any]) -> Story | None:
    """Return the story from the rows of the query: one row per dead letter, or one row if there are no dead letters."""
    row = rows[0]
    letters = [_letter(each) for each in rows if each["letter_topic"] is not None]
    if not row["stored"] and not letters:
        return None
    source, traceparent = _source(row), parse_traceparent(row["traceparent"])
    return Story(
        order_uid=order_uid,
        stored=row["stored"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        trace_id=trace_id_of(traceparent) if traceparent else None,
        batch_id=row["batch_id"],
        batch=WrittenBy(**{name: row[name] for name in WrittenBy.__struct_fields__}) if row["batch_kept"] else None,
        source=source,
        steps=_steps(row, source) if row["stored"] else [],
        dead_letters=letters[-MAX_LETTERS:],
        more_dead_letters=len(letters) > MAX_LETTERS,
    )


def _source(row: Any) -> Source | None:
    if row["batch_id"] is None:
        return None  # the row was inserted manually, so it has no message and its columns have their defaults
    came_as = _came_as(row)
    return Source(
        topic=row["source_topic"] or (None if came_as == REPEAT else row["topic"]),
        partition=row["source_partition"],
        offset=row["source_offset"],
        epoch=row["source_epoch"],
        produced_at=known_time(row["produced_at"]),
        came_as=came_as,
    )


def _came_as(row: Any) -> str | None:
    if not row["batch_kept"]:
        return None
    # After a topic is deleted and created again, the same offset exists again, but with a later timestamp.
    same_topic = row["source_epoch"] == 0 or row["produced_before_its_end"]
    if row["offset_in_batch"] and same_topic:
        return MESSAGE
    if row["offset_in_batch"] is None and not row["letter_resolved_in_batch"]:
        return None
    return REPLAY if row["letter_resolved_in_batch"] else REPEAT


def _steps(row: Any, source: Source | None) -> list[StoryStep]:
    published = source.produced_at if source is not None and source.came_as in {MESSAGE, REPLAY} else None
    times = [published, *(row[f"{step}_at"] for step in STEPS[1:])]
    return [
        StoryStep(step=step, at=at, after_ms=_ms(before, at), since_published_ms=_ms(published, at))
        for step, (before, at) in zip(STEPS, pairwise([None, *times]), strict=True)
    ]


def _ms(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / timedelta(milliseconds=1)


def _letter(row: Any) -> Letter:
    values = {name: row[f"letter_{name}"] for name in Letter.__struct_fields__}
    return Letter(**{**values, "produced_at": known_time(values["produced_at"])})
