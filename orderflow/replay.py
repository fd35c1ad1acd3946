"""Sends dead letters to where they came from again, and counts each as replayed once the broker has acknowledged it."""

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import attrs
import click
from aiokafka.errors import KafkaError
from asyncpg import Connection

from engine.dead_letter_headers import replay_headers
from engine.dead_letter_store import LETTER_BYTES, PAGE_LETTERS, REPLAY_LIMIT, fetch_letters
from orderflow.brokers import list_partitions, wait_for_topic
from orderflow.connections import kafka_options
from orderflow.dead_letters import MATCHING, Selection, missing_places
from orderflow.exits import Failed
from orderflow.messages import Message
from orderflow.publisher import Publisher, reason_of
from orderflow.settings import Settings

ON_ITS_WAY_S = 3600
"""A replay that the engine has not dealt with is waited for so long, and then counts as lost."""
AT_THE_LIMIT = f"replayed {REPLAY_LIMIT} times already"
ON_ITS_WAY = "on the way to the engine"
NO_PARTITION = "the topic no longer has the partition"

_SKIP = f"""
CASE WHEN replay_count > settled_count AND replayed_at > clock_timestamp() - make_interval(secs => {ON_ITS_WAY_S})
     THEN '{ON_ITS_WAY}'
     WHEN replay_count >= {REPLAY_LIMIT} THEN '{AT_THE_LIMIT}'
     WHEN partition <> ALL($9::int[]) THEN '{NO_PARTITION}' END
"""
_CHOSEN = f"""
SELECT partition, kafka_offset, {LETTER_BYTES} AS size, reason FROM dead_letters
WHERE {MATCHING} AND {_SKIP} IS NULL AND (partition, kafka_offset) > ($10, $11)
ORDER BY partition, kafka_offset LIMIT $12
"""
_COUNT_CHOSEN = f"SELECT reason, count(*) FROM ({_CHOSEN}) AS chosen GROUP BY reason ORDER BY 2 DESC, 1"
_COUNT_MATCHING = f"""
SELECT skip, count(*) FROM (SELECT {_SKIP} AS skip FROM dead_letters WHERE {MATCHING}) AS found GROUP BY skip
ORDER BY 2 DESC, 1
"""
# The engine may have settled the replay by now, and it locks in the same order.
_COUNT_REPLAY = """
WITH acknowledged AS (
    SELECT d.partition, d.kafka_offset, sent.replays FROM dead_letters d
    JOIN unnest($2::int[], $3::bigint[], $4::int[], $5::int[]) AS sent (partition, kafka_offset, epoch, replays)
        ON d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset AND d.epoch = sent.epoch
    WHERE d.topic = $1 ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
)
UPDATE dead_letters d SET replay_count = greatest(d.replay_count, a.replays), replayed_at = clock_timestamp()
FROM acknowledged a WHERE d.topic = $1 AND d.partition = a.partition AND d.kafka_offset = a.kafka_offset
"""
_BEFORE_ALL = (-1, -1)


@attrs.frozen
class Plan:
    """What a replay would do: letters to send, by reason; letters left out, by why; and how many `--max` leaves out."""

    chosen: Mapping[str, int]
    skipped: Mapping[str, int]
    beyond_maximum: int

    @property
    def total(self) -> int:
        """How many letters are to be sent."""
        return sum(self.chosen.values())

    @property
    def matching(self) -> int:
        """How many unresolved letters the selection matches."""
        return self.total + sum(self.skipped.values()) + self.beyond_maximum


@attrs.frozen
class Replay:
    """One run: the letters it may choose from, how many at most (None: all), and whether they may replace newer."""

    settings: Settings
    selection: Selection
    maximum: int | None
    forced: bool
    partitions: list[int]

    async def plan(self, connection: Connection) -> Plan:
        """Count what a run would do now."""
        scope = self._scope()
        matching = {row["skip"]: row["count"] for row in await connection.fetch(_COUNT_MATCHING, *scope)}
        sendable = matching.pop(None, 0)
        rows = await connection.fetch(_COUNT_CHOSEN, *scope, *_BEFORE_ALL, self.maximum)
        chosen = {row["reason"]: row["count"] for row in rows}
        return Plan(chosen, matching, sendable - sum(chosen.values()))

    async def run(self, connection: Connection, plan: Plan) -> Counter[str]:
        """Send what `plan` chose, and return how many letters of each reason were acknowledged.

        A run that is broken off may have sent letters that it did not count: the next run sends them under the same
        count, and the engine takes that for the same replay. Raises `Failed` unless all were acknowledged.
        """
        done: Counter[str] = Counter()
        publisher = Publisher(kafka_options(self.settings), self.settings.kafka_topic)
        try:
            async with publisher:
                await self._send(connection, publisher, plan.total, done)
        except (KafkaError, TimeoutError) as error:
            raise Failed(f"Kafka took nothing: {reason_of(error)}") from None
        finally:
            if done:
                click.echo(f"Replayed {describe_counts(done)}")
        if publisher.refusals:
            told = ", ".join(f"{reason} ({count})" for reason, count in publisher.refusals.most_common())
            raise Failed(f"{plan.total - done.total()} of {plan.total} letters were not acknowledged: {told}")
        return done

    async def _send(self, connection: Connection, publisher: Publisher, total: int, done: Counter[str]) -> None:
        after, left = _BEFORE_ALL, total
        with ExitStack() as stack:
            progress = None
            if sys.stderr.isatty():
                progress = stack.enter_context(click.progressbar(length=total, label="Replaying", file=sys.stderr))
            while left and not publisher.lost and (letters := await self._page(connection, after, left)):
                messages = [_message(letter, forced=self.forced) for letter in letters]
                taken = {id(message) for message in await publisher.publish(messages)}
                acknowledged = [
                    letter for letter, message in zip(letters, messages, strict=True) if id(message) in taken
                ]
                await self._count(connection, acknowledged)
                done.update(letter["reason"] for letter in acknowledged)
                after = letters[-1]["partition"], letters[-1]["kafka_offset"]
                left -= len(letters)
                if progress is not None:
                    progress.update(len(letters))

    async def _page(self, connection: Connection, after: tuple[int, int], left: int) -> list[Any]:
        chosen = await connection.fetch(_CHOSEN, *self._scope(), *after, min(left, PAGE_LETTERS))
        return await fetch_letters(connection, self.settings.kafka_topic, chosen)

    async def _count(self, connection: Connection, letters: list[Any]) -> None:
        await connection.execute(
            _COUNT_REPLAY,
            self.settings.kafka_topic,
            [letter["partition"] for letter in letters],
            [letter["kafka_offset"] for letter in letters],
            [letter["epoch"] for letter in letters],
            [letter["replay_count"] + 1 for letter in letters],
        )

    def _scope(self) -> tuple[Any, ...]:
        return (*self.selection.parameters(self.settings.kafka_topic), self.partitions)


def _message(letter: Any, *, forced: bool) -> Message:
    headers = tuple(replay_headers(letter, forced=forced))
    return Message(letter["key"], letter["payload"], letter["subject"], headers, letter["partition"])


async def replay_letters(
    connection: Connection,
    settings: Settings,
    selection: Selection,
    *,
    maximum: int | None,
    forced: bool,
    dry_run: bool,
) -> None:
    """Replay the letters of `selection`, or only say what would be done, and report on standard output.

    Raises `Failed` when a place of the selection has no unresolved letter, and unless all letters were acknowledged.
    """
    await wait_for_topic(settings, settings.kafka_topic)
    try:
        partitions = await list_partitions(settings, settings.kafka_topic)
    except (KafkaError, OSError) as error:
        raise Failed(f"Kafka did not tell the topic's partitions: {reason_of(error)}") from None
    replay = Replay(settings, selection, maximum, forced, partitions)
    plan = await replay.plan(connection)
    if plan.matching < len(selection.places):
        missing = await missing_places(connection, settings.kafka_topic, selection)
        told = " ".join(f"{partition}:{offset}" for partition, offset in missing)
        raise Failed(f"no unresolved letter is selected at {told}: see `orderflow dlq list`")
    if dry_run:
        click.echo(f"Would replay {describe_counts(plan.chosen)}")
    for why, count in plan.skipped.items():
        click.echo(f"Skipped {_letters(count)}: {why}")
    if plan.beyond_maximum:
        click.echo(f"Left out {_letters(plan.beyond_maximum)}: more than --max")
    if not dry_run and plan.total:
        await replay.run(connection, plan)
    elif not dry_run:
        click.echo("Replayed 0 letters")


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return a number of letters and, of each reason, how many."""
    total = sum(counts.values())
    told = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    return f"{_letters(total)}: {told}" if total else _letters(total)


def _letters(count: int) -> str:
    return f"{count} letter{'' if count == 1 else 's'}"
