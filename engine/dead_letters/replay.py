"""Replays dead letters: sends them to their original partition again, and counts those that the broker acknowledged."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import attrs
from asyncpg import Connection

from engine.dead_letters.headers import replay_headers
from engine.dead_letters.list import MATCHING, ON_ITS_WAY_NOW, Selection
from engine.dead_letters.store import LETTER_BYTES, PAGE_LETTERS, REPLAY_LIMIT, Owner, fetch_letters
from engine.postgres.bookkeeping import local_transaction

T = TypeVar("T")

ON_ITS_WAY = "on_its_way"
AT_THE_LIMIT = "at_the_limit"
NO_PARTITION = "no_partition"

_SKIP = f"""
CASE WHEN {ON_ITS_WAY_NOW} THEN '{ON_ITS_WAY}'
     WHEN replay_count >= {REPLAY_LIMIT} THEN '{AT_THE_LIMIT}'
     WHEN partition <> ALL($10::int[]) THEN '{NO_PARTITION}' END
"""
_CHOSEN = f"""
SELECT partition, kafka_offset, {LETTER_BYTES} AS size, reason FROM dead_letters
WHERE {MATCHING} AND {_SKIP} IS NULL AND (partition, kafka_offset) > ($11, $12)
ORDER BY partition, kafka_offset LIMIT $13
"""
_COUNT_CHOSEN = f"SELECT reason, count(*) FROM ({_CHOSEN}) AS chosen GROUP BY reason ORDER BY 2 DESC, 1"
_COUNT_MATCHING = f"""
SELECT skip, count(*) FROM (SELECT {_SKIP} AS skip FROM dead_letters WHERE {MATCHING} LIMIT $11) AS found GROUP BY skip
ORDER BY 2 DESC, 1
"""
# The engine may have settled the replay already. It locks the rows in the same order, so the two cannot deadlock.
_COUNT_REPLAY = """
WITH acknowledged AS (
    SELECT d.partition, d.kafka_offset, sent.replays FROM dead_letters d
    JOIN unnest($3::int[], $4::bigint[], $5::int[], $6::int[]) AS sent (partition, kafka_offset, epoch, replays)
        ON d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset AND d.epoch = sent.epoch
    WHERE d.consumer_group = $1 AND d.topic = $2 ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
)
UPDATE dead_letters d SET replay_count = greatest(d.replay_count, a.replays), replayed_at = clock_timestamp()
FROM acknowledged a
WHERE d.consumer_group = $1 AND d.topic = $2 AND d.partition = a.partition AND d.kafka_offset = a.kafka_offset
"""
_BEFORE_ALL = (-1, -1)


@attrs.frozen
class Outgoing:
    """One message to send to a partition."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int


class Sender(Protocol):
    """Sends messages to the topic. Stop sending once `ended` is true."""

    @property
    def ended(self) -> bool:
        """Whether the broker cannot be reached, or the deadline has passed."""
        ...

    async def send(self, messages: list[Outgoing]) -> list[bool]:
        """Send messages. Returns, for each message, whether the broker acknowledged it."""
        ...


class Store(Protocol):
    """Runs a query on PostgreSQL. After an error it may run the query again."""

    async def read(self, query: Callable[[Any], Awaitable[T]]) -> T:
        """Call `query` with a connection and return its result."""
        ...


@attrs.frozen
class ReplayPlan:
    """What a replay would do: the number of dead letters to send, by reason, and of those to leave out.

    `skipped` is keyed by `ON_ITS_WAY`, `AT_THE_LIMIT` and `NO_PARTITION`. `beyond_maximum` counts the dead letters
    above the maximum of the run.
    """

    chosen: Mapping[str, int]
    skipped: Mapping[str, int]
    beyond_maximum: int

    @property
    def total(self) -> int:
        """The number of dead letters to send."""
        return sum(self.chosen.values())

    @property
    def matching(self) -> int:
        """The number of unresolved dead letters that the selection matches."""
        return self.total + sum(self.skipped.values()) + self.beyond_maximum


@attrs.frozen
class ReplayRun:
    """One run of a replay, of at most `maximum` dead letters (None: all).

    `forced`: the replays count as new messages and may replace newer data. `partitions` are those that the topic has.
    `settled_by` is the group that settles the dead letters instead of their own group, which is gone.
    """

    owner: Owner
    selection: Selection
    maximum: int | None
    forced: bool
    partitions: list[int]
    settled_by: str | None = None

    async def plan(self, connection: Connection, most: int | None = None) -> ReplayPlan:
        """Count what a run would do now. At most `most` dead letters are checked for whether they are skipped."""
        scope = self._scope()
        matching = {row["skip"]: row["count"] for row in await connection.fetch(_COUNT_MATCHING, *scope, most)}
        sendable = matching.pop(None, 0)
        rows = await connection.fetch(_COUNT_CHOSEN, *scope, *_BEFORE_ALL, self.maximum)
        chosen = {row["reason"]: row["count"] for row in rows}
        return ReplayPlan(chosen, matching, max(0, sendable - sum(chosen.values())))

    async def run(
        self,
        store: Store,
        sender: Sender,
        total: int,
        done: Counter[str],
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Send the first `total` dead letters, page by page. Adds the reasons of the acknowledged ones to `done`.

        Calls `progress` after each page with the number of dead letters in it. An interrupted run may have sent dead
        letters without counting them: the next run sends them with the same count, and the engine treats both as one
        replay.
        """
        after, left = _BEFORE_ALL, total
        while left and not sender.ended and (letters := await self._page(store, after, left)):
            sent = await sender.send([self._repeat(letter) for letter in letters])
            acknowledged = [letter for letter, taken in zip(letters, sent, strict=True) if taken]
            done.update(letter["reason"] for letter in acknowledged)
            await count_replays(store, self.owner, acknowledged)
            after = letters[-1]["partition"], letters[-1]["kafka_offset"]
            left -= len(letters)
            if progress is not None:
                progress(len(letters))

    async def _page(self, store: Store, after: tuple[int, int], left: int) -> list[Any]:
        async def query(connection: Connection) -> list[Any]:
            chosen = await connection.fetch(_CHOSEN, *self._scope(), *after, min(left, PAGE_LETTERS))
            return await fetch_letters(connection, self.owner, chosen)

        return await store.read(query)

    def _scope(self) -> tuple[Any, ...]:
        return (*self.selection.parameters(self.owner), self.partitions)

    def _repeat(self, letter: Any) -> Outgoing:
        return repeat(letter, forced=self.forced, settled_by=self.settled_by)


def repeat(letter: Any, *, forced: bool = False, settled_by: str | None = None) -> Outgoing:
    """Return the message of a dead letter's next replay."""
    headers = tuple(replay_headers(letter, forced=forced, settled_by=settled_by))
    return Outgoing(letter["key"], letter["payload"], headers, letter["partition"])


async def count_replays(store: Store, owner: Owner, letters: list[Any]) -> None:
    """Record one more acknowledged replay of each dead letter. A second call with the same rows changes nothing."""
    arguments = (
        [letter["partition"] for letter in letters],
        [letter["kafka_offset"] for letter in letters],
        [letter["epoch"] for letter in letters],
        [letter["replay_count"] + 1 for letter in letters],
    )

    async def query(connection: Connection) -> None:
        async with local_transaction(connection):
            await connection.execute(_COUNT_REPLAY, owner.group, owner.topic, *arguments)

    await store.read(query)
