"""The checker of every fault run: what was acknowledged must be where it belongs, once, in its newest version.

Each acknowledged send is recorded with its uid, version, partition and offset. After the fault is healed and the
backlog drained, `check` proves:

(a) every acknowledged (partition, offset) is stored, superseded by a later message of its uid, equal to what is stored,
    or a dead letter; and none is twice;
(b) Kafka's committed offset never passed PostgreSQL's;
(c) an order's version never went back;
(d) for every uid, Redis holds nothing or what PostgreSQL holds;
(e) the run counts only if at least `minimum` messages went through it.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

import asyncpg
import attrs
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from engine.postgres.errors import ERRORS
from engine.postgres.link import Link
from handlers.reader import fetch_bodies
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.settings import Settings
from tests.chaos.ledger import Sent
from tests.support.redis_servers import CachedValues

WATCH_S = 0.2
LOOK_S = 5.0
CACHE_SETTLES_S = 30.0
"""How long a stale answer may last after a crash or an outage of Redis."""


@attrs.define
class Report:
    """What a run showed. All but `sent` must be empty."""

    sent: int
    lost: list[str] = attrs.field(factory=list)
    repeated: list[str] = attrs.field(factory=list)
    stale: list[str] = attrs.field(factory=list)
    went_back: list[str] = attrs.field(factory=list)
    ahead: list[str] = attrs.field(factory=list)

    @property
    def violations(self) -> list[str]:
        """Every violation, in words."""
        return self.lost + self.repeated + self.stale + self.went_back + self.ahead


def link_to(settings: Settings) -> Link:
    """Return a connection to the host that accepts writes; it is opened on use, and anew after an outage."""
    return Link({**postgres_options(settings), "command_timeout": LOOK_S})


class VersionWatch:
    """Looks at the stored versions again and again, and notes every one that went back: (c)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[str, int] = {}
        self.went_back: list[str] = []

    async def run(self) -> None:
        """Watch until cancelled; an outage of PostgreSQL ends one look, not the watch."""
        link = link_to(self._settings)
        try:
            while True:
                with suppress(*ERRORS):
                    async with link.use() as connection:
                        for uid, offset in await connection.fetch("SELECT order_uid, source_offset FROM orders"):
                            self._look(uid, offset)
                await asyncio.sleep(WATCH_S)
        finally:
            link.drop()

    def _look(self, uid: str, offset: int) -> None:
        if offset < self._seen.get(uid, 0):
            self.went_back.append(f"(c) {uid} went back from offset {self._seen[uid]} to {offset}")
        self._seen[uid] = offset


async def drained(settings: Settings, wanted: dict[int, int], timeout_s: float = 60) -> None:
    """Wait until PostgreSQL's offsets have passed `wanted`, the last offset of each partition.

    Outages of PostgreSQL are waited out. Fails after `timeout_s`, and says what is missing.
    """
    link = link_to(settings)
    left: dict[int, int] = dict(wanted)
    try:
        async with asyncio.timeout(timeout_s):
            while left:
                with suppress(*ERRORS):
                    async with link.use() as connection:
                        stored = await stored_offsets(connection, settings)
                    left = {place: offset - stored.get(place, 0) + 1 for place, offset in wanted.items()}
                    left = {place: missing for place, missing in left.items() if missing > 0}
                await asyncio.sleep(0.1 if left else 0)
    except TimeoutError:
        raise AssertionError(f"not drained within {timeout_s:g} s; messages missing by partition: {left}") from None
    finally:
        link.drop()


def last_offsets(sent: list[Sent]) -> dict[int, int]:
    """Return the highest acknowledged offset of each partition."""
    last: dict[int, int] = defaultdict(int)
    for one in sent:
        last[one.partition] = max(last[one.partition], one.offset)
    return dict(last)


async def stored_offsets(connection: asyncpg.Connection, settings: Settings) -> dict[int, int]:
    """Return PostgreSQL's next offset of each partition."""
    rows = await connection.fetch(
        "SELECT partition, next_offset FROM consumed_offsets WHERE consumer_group = $1 AND topic = $2",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    return {row["partition"]: row["next_offset"] for row in rows}


async def check(
    connection: asyncpg.Connection,
    redis: Redis | CachedValues,
    settings: Settings,
    sent: list[Sent],
    minimum: int = 1000,
) -> Report:
    """Compare what was acknowledged with what is stored. Fails when fewer than `minimum` messages went through."""
    assert len(sent) >= minimum, f"(e) only {len(sent)} messages went through this run, {minimum} are needed"
    report = Report(len(sent))
    await _check_orders(connection, sent, report)
    await _check_dead_letters(connection, settings, sent, report)
    await check_once(connection, settings, report)
    report.stale += await stale_answers(connection, redis, sent)
    await check_committed(connection, settings, report)
    return report


async def _check_orders(connection: asyncpg.Connection, sent: list[Sent], report: Report) -> None:
    newest: dict[str, Sent] = {}
    for one in sent:
        if one.version and (one.uid not in newest or one.offset > newest[one.uid].offset):
            newest[one.uid] = one
    rows = await connection.fetch(
        "SELECT order_uid, sm_id, (SELECT count(*) FROM order_items i WHERE i.order_uid = o.order_uid) AS items "
        "FROM orders o"
    )
    stored = {row["order_uid"]: row for row in rows}
    for uid, one in newest.items():
        row = stored.get(uid)
        if row is None or row["items"] == 0:
            report.lost.append(f"(a) order {uid} (partition {one.partition}, offset {one.offset}) is not stored whole")
        elif row["sm_id"] != one.version:
            report.lost.append(f"(a) order {uid} is stored in version {row['sm_id']} instead of {one.version}")
    unknown = stored.keys() - newest.keys()
    report.repeated += [f"(a) order {uid} is stored and was never sent" for uid in unknown]


async def _check_dead_letters(
    connection: asyncpg.Connection, settings: Settings, sent: list[Sent], report: Report
) -> None:
    rows = await connection.fetch(
        "SELECT partition, kafka_offset FROM dead_letters WHERE topic = $1", settings.kafka_topic
    )
    letters = {(row["partition"], row["kafka_offset"]) for row in rows}
    invalid = {(one.partition, one.offset) for one in sent if one.version == 0}
    valid = {(one.partition, one.offset) for one in sent if one.version}
    report.lost += [f"(a) the invalid message at {place} is no dead letter" for place in sorted(invalid - letters)]
    report.repeated += [f"(a) the valid message at {place} is a dead letter" for place in sorted(letters & valid)]


async def check_once(connection: asyncpg.Connection, settings: Settings, report: Report) -> None:
    """Check that every message was consumed, and none of them twice: the ranges of batches must not overlap.

    A worker that was killed has not said of its last small batches that they shared a row.
    """
    rows = await connection.fetch(
        "SELECT (s->>'partition')::int AS partition, (s->>'first_offset')::bigint AS first, "
        "(s->>'last_offset')::bigint AS last FROM batches, jsonb_array_elements(sources) s "
        "WHERE topic = $1 ORDER BY partition, first, last",
        settings.kafka_topic,
    )
    previous: Any = None
    for row in rows:
        if previous is not None and previous["partition"] == row["partition"] and row["first"] <= previous["last"]:
            report.repeated.append(f"(a) two batches hold offset {row['first']} of partition {row['partition']}")
        previous = row
    total = await connection.fetchval(
        "SELECT sum(next_offset)::bigint FROM consumed_offsets WHERE topic = $1 AND consumer_group = $2",
        settings.kafka_topic,
        settings.kafka_group_id,
    )
    if (total or 0) < report.sent:
        report.lost.append(f"(a) {total} messages of {report.sent} were consumed")


async def cache_settled(connection: asyncpg.Connection, redis: Redis | CachedValues, sent: list[Sent]) -> list[str]:
    """Wait until no answer in the cache is stale, for as long as one may last after a crash; return those that are.

    Under load only this tells: an order that changes between the two looks, at Redis and at PostgreSQL, seems stale.
    """
    found = [f"(d) the cache was not looked at within {CACHE_SETTLES_S:.0f} s"]
    with suppress(TimeoutError):
        async with asyncio.timeout(CACHE_SETTLES_S):
            while found := await stale_answers(connection, redis, sent):
                await asyncio.sleep(0.5)
    return found


async def stale_answers(connection: asyncpg.Connection, redis: Redis | CachedValues, sent: list[Sent]) -> list[str]:
    """Return, in words, every uid for which Redis holds something else than PostgreSQL: (d)."""
    found = []
    uids = sorted({one.uid for one in sent})
    for start in range(0, len(uids), 500):
        page = uids[start : start + 500]
        cached = await redis.mget([f"order:{uid}" for uid in page])
        bodies = await fetch_bodies(connection, page)
        for uid, body in zip(page, cached, strict=True):
            if body is not None and body != bodies.get(uid):
                found.append(f"(d) the cache holds another version of {uid} than PostgreSQL")
    return found


async def check_committed(connection: asyncpg.Connection, settings: Settings, report: Report) -> None:
    """Check that Kafka's committed offsets have not passed PostgreSQL's: (b)."""
    stored = await stored_offsets(connection, settings)
    consumer = AIOKafkaConsumer(group_id=settings.kafka_group_id, enable_auto_commit=False, **kafka_options(settings))
    await consumer.start()
    try:
        for partition, offset in stored.items():
            committed = await consumer.committed(TopicPartition(settings.kafka_topic, partition)) or 0
            if committed > offset:
                report.ahead.append(f"(b) Kafka's offset {committed} of partition {partition} is past {offset}")
    finally:
        await consumer.stop()
