"""Tells an order's way from what PostgreSQL keeps of it. Nothing that the order holds is read.

An order keeps the place of its latest message, and the batch that wrote its present version. The two need not belong
together: a later message with equal content moves the place alone, and a batch's row may have been deleted. What is not
known is None.
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
"""How many dead letters a story tells of: the last ones to fail."""
MESSAGE, REPEAT, REPLAY = "message", "repeat", "replay"
STEPS = ("published", "consumed", "validated", "committed", "cached")

# One statement is one snapshot; each dead letter's row repeats the order's columns. A batch's offsets in a partition
# follow each other. A letter that the batch itself resolved was resolved just before its commit.
_SELECT = f"""
SELECT o.order_uid IS NOT NULL AS stored, o.created_at, o.updated_at, o.batch_id, o.traceparent,
       o.source_topic, o.source_partition, o.source_offset, o.source_epoch, o.produced_at,
       b.batch_id IS NOT NULL AS batch_kept, b.topic, b.consumer_group, b.worker, b.host,
       -- In a shared row that is worked out: it was after the message was published, and before it was validated.
       CASE WHEN b.worker_clock IS NULL THEN b.consumed_at
            ELSE least(greatest(b.consumed_at + later, o.produced_at), b.validated_at + later) END AS consumed_at,
       b.validated_at + later AS validated_at,
       b.committed_at + later AS committed_at,
       -- The column is that of rows from before the table; in later ones it repeats committed_at.
       coalesce(c.cached_at, CASE WHEN b.cached_at > b.committed_at THEN b.cached_at END) + later AS cached_at,
       b.messages, b.inserted, b.changed, b.unchanged, b.rejected,
       o.produced_at <= sharing.ended_at AS produced_before_its_end,
       (o.source_topic IS NULL OR o.source_topic = b.topic) AND (EXISTS (
           SELECT FROM jsonb_to_recordset(b.sources) AS s (partition int, first_offset bigint, last_offset bigint)
           WHERE s.partition = o.source_partition AND o.source_offset BETWEEN s.first_offset AND s.last_offset
       -- A shared row that is not complete yet does not tell.
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
           -- The times of a row that batches share are those of the first; the order was written so much later.
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
    """The order's latest message. `produced_at` is Kafka's time, and never before that of the order's message before.

    It is None where the message had no timestamp.

    `came_as` tells what that has to do with the stored version: it was written from this "message"; it was written from
    the "replay" of the dead letter at this place; or this is a "repeat", a later message with the content that was
    already stored. None where the batch is not known. `topic` is None where that is not known: of an order that was
    written before its topic was kept, where the batch does not tell.
    """

    topic: str | None
    partition: int
    offset: int
    epoch: int
    produced_at: datetime | None
    came_as: str | None


class WrittenBy(Struct, kw_only=True):
    """The batch that wrote the stored version, where and by whom, and how many messages it held."""

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
    """One of `STEPS`, and how many milliseconds it came after the one before and after the first.

    Published is the message, by the producer's clock (or the broker's); consumed and validated is the batch, by the
    worker's clock; committed and cached, by PostgreSQL's. Small batches that follow each other within a quarter of a
    second share a row: all but the first's times are worked out from that one's, and are right to within that time;
    cached is when the first of them was. Where clocks disagree a difference may be below 0. Cached says that the cache
    answers with nothing older than the batch since then.
    """

    step: str
    at: datetime | None
    after_ms: float | None
    since_published_ms: float | None


class Letter(Struct, kw_only=True):
    """A dead letter that is about the order, without what was sent. `produced_at` is None if it had no timestamp."""

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
    """All that is known. An order that is not `stored` has no steps: it is known by its dead letters alone.

    `trace_id` is that of the message that the stored version came from: 32 hexadecimal digits, None if it named none.
    `batch` is None while there is a `batch_id` when the batch's row was deleted; `dead_letters` are in the order in
    which they failed, and `more_dead_letters` says that earlier ones are left out.
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
    """Return the order's story, or None when neither an order nor a dead letter has this uid."""
    rows = await connection.fetch(_SELECT, order_uid, timeout=timeout_s)
    return tell(order_uid, rows)


def tell(order_uid: str, rows: list[Any]) -> Story | None:
    """Make the story out of what was read: a row for each dead letter, or one without any."""
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
        return None  # no message: somebody wrote it by hand, and the columns hold their defaults
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
    # In a topic that was created anew the same offset comes again, but later than the batch.
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
    told = {name: row[f"letter_{name}"] for name in Letter.__struct_fields__}
    return Letter(**{**told, "produced_at": known_time(told["produced_at"])})
