"""Dead letters that come back: recognised by their headers, and settled on the letter that they repeat."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar

import attrs
from asyncpg import Connection

from engine.dead_letter_headers import ReplayHeaders, read_replay_headers
from engine.dead_letter_store import insert_dead_letters, lock_letters, reject_letters_again, resolve_letters
from engine.records import Batch, Origin, Place, Record, Replay, ms_of
from engine.verdict import Rejected

T = TypeVar("T")


async def recognise_replays(connection: Connection, batch: Batch[T]) -> Batch[T]:
    """Return the batch with the replays of dead letters noted, and lock these letters until the transaction's end.

    A batch whose headers name no letter costs no query.
    """
    named = [
        (entry.record, headers)
        for entry in batch.entries
        if entry.record.headers and (headers := read_replay_headers(entry.record, batch.topic))
    ]
    if not named:
        return batch
    places = {(headers.partition, headers.offset) for _, headers in named}
    letters = await lock_letters(connection, batch.topic, sorted(places))
    replays = {
        (record.partition, record.offset): _replay(record, batch.topic, headers, letter)
        for record, headers in named
        if (letter := letters.get((headers.partition, headers.offset)))
    }
    return attrs.evolve(batch, replays=replays)


def _replay(record: Record, topic: str, headers: ReplayHeaders, letter: Any) -> Replay:
    digest = None if record.value is None else sha256(record.value).digest()
    edited = digest != letter["digest"]
    origin = None
    if not edited and not headers.forced:
        produced_ms = ms_of(letter["produced_at"])
        origin = Origin(topic, headers.partition, headers.offset, produced_ms, letter["epoch"])
    # Any sender may write any number. Whoever edits need not count: that is a hop further, whatever the headers say.
    following = letter["replay_count"] + 1
    count = following if edited else min(headers.count, following)
    return Replay((headers.partition, headers.offset), count, origin, edited, letter["subject"])


async def store_verdicts(
    connection: Connection, group: str, batch: Batch[T], subject_of: Callable[[T], str | None]
) -> None:
    """Make dead letters of the rejected records, and settle the replays, accepted or not, on the letters they repeat.

    An edited replay is a message of its own: rejected, it becomes another letter; accepted, it resolves the letter that
    it names if both are about the same subject.
    """
    if not batch.replays:
        if rejected := batch.rejected():
            await insert_dead_letters(connection, group, batch, [(record, verdict, 0) for record, verdict in rejected])
        return
    letters: list[tuple[Record, Rejected, int]] = []
    settled: dict[Place, tuple[int, Rejected | None]] = {}
    for entry in batch.entries:
        record, value = entry.record, entry.value
        replay = batch.replays.get((record.partition, record.offset))
        verdict = value if isinstance(value, Rejected) else None
        if verdict is not None and (replay is None or replay.edited):
            letters.append((record, verdict, 0 if replay is None else replay.count))
        elif replay is not None and (isinstance(value, Rejected) or _concerns(replay, subject_of(value))):
            before, _ = settled.get(replay.letter, (0, None))
            settled[replay.letter] = (max(before, replay.count), verdict)
    if letters:
        await insert_dead_letters(connection, group, batch, letters)
    accepted = {place: count for place, (count, verdict) in settled.items() if verdict is None}
    again = {place: (count, verdict) for place, (count, verdict) in settled.items() if verdict is not None}
    if accepted:
        await resolve_letters(connection, batch.topic, accepted)
    if again:
        await reject_letters_again(connection, group, batch, again)


def replay_counts(batch: Batch[Any]) -> dict[str, int]:
    """Return how many of the batch's replays were accepted, and how many were rejected."""
    rejected = sum((record.partition, record.offset) in batch.replays for record, _ in batch.rejected())
    return {"accepted": len(batch.replays) - rejected, "rejected": rejected}


def _concerns(replay: Replay, subject: str | None) -> bool:
    return not replay.edited or (subject is not None and subject == replay.subject)
