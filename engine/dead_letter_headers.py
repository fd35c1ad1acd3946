"""A dead letter's headers: those of the original record as they are stored, and those it carries to its topic."""

from base64 import b64decode, b64encode
from typing import Any

from msgspec import json

from engine.records import Record

FIELDS_HEADER_BYTES = 4096


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
    """Return the headers that a letter carries to the dead-letter topic. They hold no personal data."""
    paths = list(dict.fromkeys(error["path"] for error in json.decode(letter["errors"]) if error["path"]))
    fields = ",".join(paths).encode()
    while len(fields) > FIELDS_HEADER_BYTES:
        paths.pop()
        fields = ",".join([*paths, "…"]).encode()
    return [
        ("x-original-topic", letter["topic"].encode()),
        ("x-original-partition", str(letter["partition"]).encode()),
        ("x-original-offset", str(letter["kafka_offset"]).encode()),
        ("x-failure-reason", letter["reason"].encode()),
        ("x-failure-fields", fields),
        ("x-failed-at", letter["failed_at"].isoformat().replace("+00:00", "Z").encode()),
    ]
