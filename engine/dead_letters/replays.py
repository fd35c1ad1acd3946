"""Processes replays: finds them by their headers, and stores the verdict in the dead letter that they repeat.

Every consumer group of a topic reads a replay, and each group has its own dead letters. The verdict settles the dead
letter of the group that the replay names. If the replay names no group, it settles that of the group that reads it. For
any other group the replay is the original message: it competes with the original partition and offset, and an earlier
verdict of the group stays valid.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, TypeVar

import attrs
from asyncpg import Connection

from engine.dead_letters.headers import ReplayHeaders, read_replay_headers
from engine.dead_letters.store import (
    LetterKey,
    insert_dead_letters,
    letters_at,
    lock_letters,
    reject_letters_again,
    resolve_letters,
)
from engine.records import Batch, Origin, Place, Record, Replay, ms_of
from engine.verdict import Rejected

T = TypeVar("T")


async def recognise_replays(connection: Connection, group: str, batch: Batch[T]) -> Batch[T]:
    """Return the batch with its replays of dead letters. Locks the dead letters that they settle.

    The locks last until the end of the transaction. `group` is the consumer group of this worker. A batch without
    replay headers needs no query.
    """
    named = _named(batch)
    if not named:
        return batch
    keys = {(settles, *_place(headers)) for _, headers in named if (settles := headers.settles(group)) is not None}
    settled = await lock_letters(connection, batch.topic, list(keys)) if keys else {}
    others = {_place(headers) for _, headers in named if (headers.settles(group), *_place(headers)) not in settled}
    known = await letters_at(connection, batch.topic, sorted(others)) if others else {}
    replays = {}
    for record, headers in named:
        place = _place(headers)
        if letter := settled.get((headers.settles(group) or "", *place)):
            replays[record.partition, record.offset] = _replay(
                record, batch.topic, headers, letter, letter["consumer_group"]
            )
        elif letter := _first_of((headers.group, group), known.get(place, ())):
            judged = any(
                known_letter["consumer_group"] == group and known_letter["digest"] == _digest(record)
                for known_letter in known[place]
            )
            replays[record.partition, record.offset] = _replay(
                record, batch.topic, headers, letter, None, judged=judged
            )
    return attrs.evolve(batch, replays=replays)


def names_dead_letters(batch: Batch[Any]) -> bool:
    """Return whether any record of the batch has the headers of a replay."""
    return bool(_named(batch))


def _named(batch: Batch[Any]) -> list[tuple[Record, ReplayHeaders]]:
    return [
        (entry.record, headers)
        for entry in batch.entries
        if entry.record.headers and (headers := read_replay_headers(entry.record, batch.topic))
    ]


def _place(headers: ReplayHeaders) -> Place:
    return headers.partition, headers.offset


def _first_of(groups: tuple[str | None, ...], letters: Iterable[Any]) -> Any:
    """Return the dead letter of the first of `groups` that has one, else of any group. None if there is none.

    All of them are for the same partition and offset.
    """
    by_group = {letter["consumer_group"]: letter for letter in letters}
    return next((by_group[group] for group in groups if group in by_group), next(iter(by_group.values()), None))


def _digest(record: Record) -> bytes | None:
    return None if record.value is None else sha256(record.value).digest()


def _replay(
    record: Record, topic: str, headers: ReplayHeaders, letter: Any, settles: str | None, *, judged: bool = False
) -> Replay:
    edited = _digest(record) != letter["digest"]
    origin = None
    if not edited and not headers.forced:
        produced_ms = ms_of(letter["produced_at"])
        origin = Origin(topic, headers.partition, headers.offset, produced_ms, letter["epoch"])
    # A producer may write any number: it is limited to the next one. An edited message always gets the next number.
    following = letter["replay_count"] + 1
    count = following if edited else min(headers.count, following)
    return Replay(_place(headers), count, origin, edited, letter["subject"], settles, judged)


async def store_verdicts(
    connection: Connection, group: str, batch: Batch[T], subject_of: Callable[[T], str | None]
) -> None:
    """Store the rejected records as dead letters, and store the verdicts on replays in the dead letters they repeat.

    An edited replay is a new message. If it is rejected, it becomes a new dead letter. If it is accepted, it resolves
    the dead letter that it names, provided that both have the same subject. A rejected replay of another group's dead
    letter becomes a dead letter of this group, unless this group already has one for that message.
    """
    if not batch.replays:
        if rejected := batch.rejected():
            await insert_dead_letters(connection, group, batch, [(record, verdict, 0) for record, verdict in rejected])
        return
    letters: list[tuple[Record, Rejected, int]] = []
    settled: dict[LetterKey, tuple[int, Rejected | None]] = {}
    for entry in batch.entries:
        record, value = entry.record, entry.value
        replay = batch.replays.get((record.partition, record.offset))
        verdict = value if isinstance(value, Rejected) else None
        if verdict is not None and _makes_new_letter(replay):
            letters.append((record, verdict, 0 if replay is None else replay.count))
        elif (
            replay is not None
            and replay.settles is not None
            and (isinstance(value, Rejected) or _resolves(replay, subject_of(value)))
        ):
            key = (replay.settles, *replay.letter)
            before, _ = settled.get(key, (0, None))
            settled[key] = (max(before, replay.count), verdict)
    if letters:
        await insert_dead_letters(connection, group, batch, letters)
    accepted = {key: count for key, (count, verdict) in settled.items() if verdict is None}
    again = {key: (count, verdict) for key, (count, verdict) in settled.items() if verdict is not None}
    if accepted:
        await resolve_letters(connection, batch.topic, accepted)
    if again:
        await reject_letters_again(connection, batch, again)


def _makes_new_letter(replay: Replay | None) -> bool:
    """Return whether a rejected record becomes a new dead letter."""
    return replay is None or replay.edited or (replay.settles is None and not replay.judged)


def replay_counts(batch: Batch[Any]) -> dict[str, int]:
    """Return how many replays in the batch were accepted, were rejected, or repeat dead letters of other groups."""
    own = {place for place, replay in batch.replays.items() if replay.settles is not None}
    rejected = sum((record.partition, record.offset) in own for record, _ in batch.rejected())
    return {"accepted": len(own) - rejected, "rejected": rejected, "of_others": len(batch.replays) - len(own)}


def _resolves(replay: Replay, subject: str | None) -> bool:
    return not replay.edited or (subject is not None and subject == replay.subject)
