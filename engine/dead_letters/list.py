"""Finds dead letters in PostgreSQL and describes them. The content of the message is included only on request."""

import re
from base64 import b64encode
from datetime import datetime
from typing import Any

import attrs
from asyncpg import Connection
from msgspec import json

from engine.dead_letters.headers import decode_headers
from engine.dead_letters.store import REPLAYED_TOO_OFTEN, TOO_LARGE, Owner
from engine.records import HIGHEST_OFFSET, HIGHEST_PARTITION, Place, known_time

ON_ITS_WAY_S = 3600
"""A replay that the engine has not processed after so many seconds counts as lost."""
ON_ITS_WAY_NOW = f"""
(resolved_at IS NULL AND replay_count > settled_count AND replayed_at IS NOT NULL
 AND replayed_at > clock_timestamp() - make_interval(secs => {ON_ITS_WAY_S}))
"""
"""An SQL condition on rows of `dead_letters`: a replay was sent, and the engine has not processed it yet."""
_UNPUBLISHED = {TOO_LARGE: "too large", REPLAYED_TOO_OFTEN: "given up"}
_PLACE = re.compile(r"(\d{1,10}):(\d{1,19})", re.ASCII)
MATCHING = """
consumer_group = $1 AND topic = $2
AND ($3::text[] IS NULL OR reason = ANY($3)) AND ($4::text[] IS NULL OR subject = ANY($4))
AND ($5::timestamptz IS NULL OR failed_at >= $5) AND ($6::timestamptz IS NULL OR failed_at < $6)
AND ($7::int[] IS NULL OR (partition, kafka_offset) IN (SELECT * FROM unnest($7::int[], $8::bigint[])))
AND ($9::boolean OR resolved_at IS NULL)
"""
"""An SQL condition on rows of `dead_letters`. Its parameters are those of `Selection.parameters`."""

_LIST = f"""
SELECT topic, partition, kafka_offset, failed_at, reason, subject, jsonb_array_length(errors) AS error_count,
       replay_count, replayed_at, published_at, publish_error, resolved_at
FROM dead_letters
WHERE {MATCHING} AND ($11::timestamptz IS NULL OR (failed_at, partition, kafka_offset) < ($11, $12, $13))
ORDER BY failed_at DESC, partition DESC, kafka_offset DESC LIMIT $10
"""
_COUNT = f"""
SELECT reason, count(*) FROM (SELECT reason FROM dead_letters WHERE {MATCHING} LIMIT $10) AS found
GROUP BY reason ORDER BY 2 DESC, 1
"""
_REASONS = "SELECT DISTINCT reason FROM dead_letters WHERE consumer_group = $1 AND topic = $2"
_PLACES = f"SELECT partition, kafka_offset FROM dead_letters WHERE {MATCHING}"
_FIND = f"""
SELECT *, {ON_ITS_WAY_NOW} AS on_its_way FROM dead_letters
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND kafka_offset = $4
"""


@attrs.frozen
class Selection:
    """A filter for dead letters. A field that is empty or None does not restrict the selection.

    `since` (inclusive) and `until` (exclusive) limit the time of the last failure. Resolved dead letters match only
    with `resolved_too`.
    """

    reasons: tuple[str, ...] = ()
    uids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    places: tuple[Place, ...] = ()
    resolved_too: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether the selection can exclude unresolved dead letters."""
        return bool(self.reasons or self.uids or self.since or self.until or self.places)

    def parameters(self, owner: Owner) -> tuple[Any, ...]:
        """Return the parameters of `MATCHING`."""
        partitions, offsets = [place[0] for place in self.places], [place[1] for place in self.places]
        return (
            owner.group,
            owner.topic,
            list(self.reasons) or None,
            list(self.uids) or None,
            self.since,
            self.until,
            partitions or None,
            offsets or None,
            self.resolved_too,
        )


def parse_place(text: str) -> Place:
    """Parse `PARTITION:OFFSET`. Raises `ValueError` with a text that says what is allowed."""
    match = _PLACE.fullmatch(text)
    place = (int(match[1]), int(match[2])) if match else None
    if place is None or place[0] > HIGHEST_PARTITION or place[1] > HIGHEST_OFFSET:
        raise ValueError("must be a partition and an offset, such as 2:57")
    return place


@attrs.frozen
class LetterCursor:
    """A position in a list of dead letters. Lists are sorted by last failure, partition and offset, all descending."""

    failed_at: datetime
    partition: int
    offset: int


async def list_letters(
    connection: Connection, owner: Owner, selection: Selection, limit: int, before: LetterCursor | None = None
) -> list[Any]:
    """Return rows of dead letters, the last failure first. With `before`, only the rows after it in that order."""
    after = (None, None, None) if before is None else attrs.astuple(before)
    return await connection.fetch(_LIST, *selection.parameters(owner), limit, *after)


async def count_letters(
    connection: Connection, owner: Owner, selection: Selection, most: int | None = None
) -> dict[str, int]:
    """Return the number of dead letters by reason, the most frequent first. Counts at most `most` dead letters."""
    rows = await connection.fetch(_COUNT, *selection.parameters(owner), most)
    return {row["reason"]: row["count"] for row in rows}


async def stored_reasons(connection: Connection, owner: Owner) -> set[str]:
    """Return the distinct reasons of the owner's dead letters, resolved or not."""
    rows = await connection.fetch(_REASONS, owner.group, owner.topic)
    return {row["reason"] for row in rows}


async def missing_places(connection: Connection, owner: Owner, selection: Selection) -> list[Place]:
    """Return the places in the selection for which no dead letter matches."""
    matching = {tuple(row) for row in await connection.fetch(_PLACES, *selection.parameters(owner))}
    return [place for place in selection.places if place not in matching]


async def find_letter(connection: Connection, owner: Owner, place: Place) -> Any:
    """Return the row of a dead letter, or None if there is none."""
    return await connection.fetchrow(_FIND, owner.group, owner.topic, *place)


def state_of(letter: Any) -> str:
    """Return the state of a dead letter: waiting, published or resolved, or why it will not be published.

    That reason is `too large`, `refused` or `given up`.
    """
    if letter["resolved_at"] is not None:
        return "resolved"
    if letter["publish_error"] is not None:
        return _UNPUBLISHED.get(letter["publish_error"], "refused")
    return "waiting" if letter["published_at"] is None else "published"


def summarise(letter: Any, subject_name: str) -> dict[str, Any]:
    """Return the entry of a dead letter in a list, ready for JSON. `letter` is a row of `list_letters`."""
    return {
        "topic": letter["topic"],
        "partition": letter["partition"],
        "offset": letter["kafka_offset"],
        "failed_at": letter["failed_at"],
        "reason": letter["reason"],
        subject_name: letter["subject"],
        "error_count": letter["error_count"],
        "replay_count": letter["replay_count"],
        "replayed_at": letter["replayed_at"],
        "state": state_of(letter),
    }


def describe_letter(letter: Any, subject_name: str, *, payload: bool) -> dict[str, Any]:
    """Return all fields of a dead letter, ready for JSON.

    Key, value and headers may contain personal data: they are included only if `payload` is true. Bytes that are not
    UTF-8 are encoded in base64, under a name such as `payload_base64`.
    """
    headers = decode_headers(letter["headers"])
    described = {
        "topic": letter["topic"],
        "partition": letter["partition"],
        "offset": letter["kafka_offset"],
        "state": state_of(letter),
        "reason": letter["reason"],
        subject_name: letter["subject"],
        "errors": json.decode(letter["errors"]),
        "produced_at": known_time(letter["produced_at"]),
        "failed_at": letter["failed_at"],
        "published_at": letter["published_at"],
        "publish_error": letter["publish_error"],
        "replay_count": letter["replay_count"],
        "replayed_at": letter["replayed_at"],
        "on_its_way": letter["on_its_way"],
        "resolved_at": letter["resolved_at"],
        "batch_id": str(letter["batch_id"]),
        "consumer_group": letter["consumer_group"],
        "headers": len(headers),
        "payload_bytes": len(letter["payload"] or b""),
    }
    if payload:
        described["headers"] = [{"name": name, **_readable("value", value)} for name, value in headers]
        described |= {**_readable("key", letter["key"]), **_readable("payload", letter["payload"])}
    return described


def _readable(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}
