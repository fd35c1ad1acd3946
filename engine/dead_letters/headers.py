"""A dead letter's headers: the original record's, those it carries to the dead-letter topic, and those of a replay."""

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
    """What a record's headers say of a replay: which letter of the topic it repeats, and for the how-manieth time.

    `count` is 0 when the headers do not say. A `forced` replay competes as a new message. `group` is the consumer group
    whose letter it is, None for any that has one; `settled_by` the one whose verdict settles it, where that group is
    gone.
    """

    partition: int
    offset: int
    count: int = 0
    forced: bool = False
    group: str | None = None
    settled_by: str | None = None

    def settles(self, group: str) -> str | None:
        """Return the group whose letter a verdict of the consumers in `group` settles, or None for nobody's."""
        if self.group is None or self.group == group:
            return group if self.settled_by in {None, group} else None
        return self.group if self.settled_by == group else None


def encode_headers(record: Record) -> str:
    """Return a record's headers as JSON text for the stored column; `decode_headers` reads it."""
    # Names are text without NUL for jsonb; values are any bytes, hence base64.
    return json.encode(
        [[name.replace("\x00", ""), b64encode(value or b"").decode()] for name, value in record.headers or ()]
    ).decode()


def decode_headers(stored: str) -> list[tuple[str, bytes]]:
    """Return the original record's headers from the stored column."""
    return [(name, b64decode(value)) for name, value in json.decode(stored)]


def letter_headers(letter: Any) -> list[tuple[str, bytes]]:
    """Return the headers that a letter carries to the dead-letter topic, its trace's among them.

    They hold no personal data.
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
    """Return the headers of a letter's next replay: the original record's own, and what makes it a replay.

    `settled_by` is the group that settles it in the stead of the letter's own, which is gone.
    """
    own = [(name, value) for name, value in decode_headers(letter["headers"]) if name not in _REPLAY_HEADERS]
    headers = [*own, *_original_headers(letter), (ORIGINAL_GROUP, letter["consumer_group"].encode())]
    if settled_by is not None:
        headers.append((SETTLED_BY, settled_by.encode()))
    headers.append((REPLAY_COUNT, str(letter["replay_count"] + 1).encode()))
    return [*headers, *([(REPLAY_FORCE, b"true")] if forced else [])]


def read_replay_headers(record: Record, topic: str) -> ReplayHeaders | None:
    """Return what the headers of a record in `topic` say of a replay, or None: it is an ordinary message.

    Anybody may send any headers. What is twice there, or not what `replay_headers` writes, makes it an ordinary one.
    """
    found: dict[str, bytes] = {}
    for name, value in record.headers or ():
        if name in _REPLAY_HEADERS:
            if name in found or value is None:
                return None
            found[name] = value
    if found.get(ORIGINAL_TOPIC) != topic.encode():
        return None
    partition = _number(found.get(ORIGINAL_PARTITION), HIGHEST_PARTITION)
    offset = _number(found.get(ORIGINAL_OFFSET), HIGHEST_OFFSET)
    count = _number(found.get(REPLAY_COUNT, b"0"), _HIGHEST_COUNT)
    forced = found.get(REPLAY_FORCE, b"false")
    if partition is None or offset is None or count is None or forced not in {b"true", b"false"}:
        return None
    try:
        group, settled_by = _group(found.get(ORIGINAL_GROUP)), _group(found.get(SETTLED_BY))
    except ValueError:
        return None
    return ReplayHeaders(partition, offset, count, forced == b"true", group, settled_by)


def _group(name: bytes | None) -> str | None:
    """Return a group's name, None where there is none. Raises `ValueError` for what PostgreSQL cannot be asked for."""
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
