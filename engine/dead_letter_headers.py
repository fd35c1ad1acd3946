"""A dead letter's headers: the original record's, those it carries to the dead-letter topic, and those of a replay."""

from base64 import b64decode, b64encode
from typing import Any

import attrs
from msgspec import json

from engine.records import HIGHEST_OFFSET, HIGHEST_PARTITION, Record
from engine.trace_context import trace_headers

FIELDS_HEADER_BYTES = 4096
ORIGINAL_TOPIC = "x-original-topic"
ORIGINAL_PARTITION = "x-original-partition"
ORIGINAL_OFFSET = "x-original-offset"
REPLAY_COUNT = "x-replay-count"
REPLAY_FORCE = "x-replay-force"
_REPLAY_HEADERS = frozenset({ORIGINAL_TOPIC, ORIGINAL_PARTITION, ORIGINAL_OFFSET, REPLAY_COUNT, REPLAY_FORCE})
_HIGHEST_COUNT = 10**6


@attrs.frozen
class ReplayHeaders:
    """What a record's headers say of a replay: which letter of the topic it repeats, and for the how-manieth time.

    `count` is 0 when the headers do not say. A `forced` replay competes as a new message.
    """

    partition: int
    offset: int
    count: int = 0
    forced: bool = False


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


def replay_headers(letter: Any, *, forced: bool) -> list[tuple[str, bytes]]:
    """Return the headers of a letter's next replay: the original record's own, and what makes it a replay."""
    own = [(name, value) for name, value in decode_headers(letter["headers"]) if name not in _REPLAY_HEADERS]
    count = (REPLAY_COUNT, str(letter["replay_count"] + 1).encode())
    return [*own, *_original_headers(letter), count, *([(REPLAY_FORCE, b"true")] if forced else [])]


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
    return ReplayHeaders(partition, offset, count, forced == b"true")


def _number(digits: bytes | None, highest: int) -> int | None:
    if digits is None or len(digits) > len(str(highest)) or not digits.isdigit():
        return None
    number = int(digits)
    return number if number <= highest else None
