"""The headers of dead letters: of the original record, of the message in the dead-letter topic, and of a replay."""

from base64 import b64decode, b64encode
from typing import Any

import attrs
from msgspec import json

from engine.records import HIGHEST_OFFSET, HIGHEST_PARTITION, Record
from engine.telemetry.trace_context import trace_headers

FIELDS_HEADER_BYTES = 4096
ORIGINAL_TOPIC = "x-original-topic"
ORIGINAL_PARTITION = "x-original-partition"
ORIGINAL_OFFSET = "x-original-offset"
ORIGINAL_GROUP = "x-original-group"
SETTLED_BY = "x-settled-by-group"
REPLAY_COUNT = "x-replay-count"
REPLAY_FORCE = "x-replay-force"
_REPLAY_HEADERS = frozenset(
    {ORIGINAL_TOPIC, ORIGINAL_PARTITION, ORIGINAL_OFFSET, ORIGINAL_GROUP, SETTLED_BY, REPLAY_COUNT, REPLAY_FORCE}
)
_HIGHEST_COUNT = 10**6
_LONGEST_GROUP = 1024


@attrs.frozen
class ReplayHeaders:
    """The replay headers of a record: `partition` and `offset` identify the dead letter that the record repeats.

    `count` is the number of this replay (from 1), 0 if the headers do not give it. A `forced` replay competes as a new
    message. `group` is the consumer group that owns the dead letter, None for any group. `settled_by` is the group
    whose verdict settles the dead letter if its own group is gone.
    """

    partition: int
    offset: int
    count: int = 0
    forced: bool = False
    group: str | None = None
    settled_by: str | None = None

    def settles(self, group: str) -> str | None:
        """Return the group whose dead letter is settled by a verdict of a consumer in `group`, or None."""
        if self.group is None or self.group == group:
            return group if self.settled_by in {None, group} else None
        return self.group if self.settled_by == group else None


def encode_headers(record: Record) -> str:
    """Return a record's headers as JSON text for the column `headers`. `decode_headers` reads it."""
    # jsonb text cannot contain NUL. Values may be any bytes, so they are encoded in base64.
    return json.encode(
        [[name.replace("\x00", ""), b64encode(value or b"").decode()] for name, value in record.headers or ()]
    ).decode()


def decode_headers(stored: str) -> list[tuple[str, bytes]]:
    """Return the original record's headers from the column `headers`."""
    return [(name, b64decode(value)) for name, value in json.decode(stored)]


def letter_headers(letter: Any) -> list[tuple[str, bytes]]:
    """Return the headers of a dead letter's message in the dead-letter topic, with those of its trace.

    They contain no personal data.
    """
    paths = list(dict.fromkeys(error["path"] for error in json.decode(letter["errors"]) if error["path"]))
    fields = ",".join(paths).encode()
    while len(fields) > FIELDS_HEADER_BYTES:
        paths.pop()
        fields = ",".join([*paths, "…"]).encode()
    headers = [
        *_original_headers(letter),
        ("x-failure-reason", letter["reason"].encode()),
        ("x-failure-fields", fields),
        ("x-failed-at", letter["failed_at"].isoformat().replace("+00:00", "Z").encode()),
    ]
    headers += trace_headers(decode_headers(letter["headers"]))
    if letter["settled_count"]:
        headers.append((REPLAY_COUNT, str(letter["settled_count"]).encode()))
    return headers


def _original_headers(letter: Any) -> list[tuple[str, bytes]]:
    return [
        (ORIGINAL_TOPIC, letter["topic"].encode()),
        (ORIGINAL_PARTITION, str(letter["partition"]).encode()),
        (ORIGINAL_OFFSET, str(letter["kafka_offset"]).encode()),
    ]


def replay_headers(letter: Any, *, forced: bool, settled_by: str | None = None) -> list[tuple[str, bytes]]:
    """Return the headers of a dead letter's next replay: those of the original record, and the replay headers.

    `settled_by` is the group that settles the dead letter instead of its own group, which is gone.
    """
    own = [(name, value) for name, value in decode_headers(letter["headers"]) if name not in _REPLAY_HEADERS]
    headers = [*own, *_original_headers(letter), (ORIGINAL_GROUP, letter["consumer_group"].encode())]
    if settled_by is not None:
        headers.append((SETTLED_BY, settled_by.encode()))
    headers.append((REPLAY_COUNT, str(letter["replay_count"] + 1).encode()))
    return [*headers, *([(REPLAY_FORCE, b"true")] if forced else [])]


def read_replay_headers(record: Record, topic: str) -> ReplayHeaders | None:
    """Return the replay headers of a record in `topic`, or None if it is an ordinary message.

    Any producer may send any headers. A record counts as an ordinary message if a replay header occurs twice or has a
    value that `replay_headers` does not write.
    """
    values: dict[str, bytes] = {}
    for name, value in record.headers or ():
        if name in _REPLAY_HEADERS:
            if name in values or value is None:
                return None
            values[name] = value
    if values.get(ORIGINAL_TOPIC) != topic.encode():
        return None
    partition = _number(values.get(ORIGINAL_PARTITION), HIGHEST_PARTITION)
    offset = _number(values.get(ORIGINAL_OFFSET), HIGHEST_OFFSET)
    count = _number(values.get(REPLAY_COUNT, b"0"), _HIGHEST_COUNT)
    forced = values.get(REPLAY_FORCE, b"false")
    if partition is None or offset is None or count is None or forced not in {b"true", b"false"}:
        return None
    try:
        group, settled_by = _group(values.get(ORIGINAL_GROUP)), _group(values.get(SETTLED_BY))
    except ValueError:
        return None
    return ReplayHeaders(partition, offset, count, forced == b"true", group, settled_by)


def _group(name: bytes | None) -> str | None:
    """Return the name of a group, or None if there is no name. Raises `ValueError` for text PostgreSQL cannot store."""
    if name is None:
        return None
    if not 0 < len(name) <= _LONGEST_GROUP or b"\x00" in name:
        raise ValueError
    return name.decode()


def _number(digits: bytes | None, highest: int) -> int | None:
    if digits is None or len(digits) > len(str(highest)) or not digits.isdigit():
        return None
    number = int(digits)
    return number if number <= highest else None
