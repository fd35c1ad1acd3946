"""The trace that a message or a request belongs to: W3C Trace Context, version 00.

https://www.w3.org/TR/trace-context/ describes the header `traceparent`: `00-<trace id>-<parent id>-<flags>`. A value
that breaks its rules is ignored, as if it were not there. What is valid is hexadecimal digits, and so fit for any log.
"""

import re
from collections.abc import Iterable
from os import urandom
from typing import NewType

from engine.records import Record

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
Traceparent = NewType("Traceparent", str)
"""A value that `parse_traceparent` or `new_traceparent` returned."""
TRACESTATE_BYTES = 512
"""The specification asks that so many be passed on; what is longer is left out."""
_LENGTH = 55
_TRACE_ID, _PARENT_ID, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
_SAMPLED = 0x01
# No trace id and no parent id is all zeros.
_VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A key, "=", and printable ASCII without "," and "=".
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")


def parse_traceparent(value: str | bytes | None) -> Traceparent | None:
    """Return the value if it is valid, else None. Never raises."""
    if value is None or len(value) != _LENGTH:
        return None
    text = value if isinstance(value, str) else value.decode("ascii", "replace")
    return Traceparent(text) if _VALID.fullmatch(text) else None


def traceparent_of(record: Record) -> Traceparent | None:
    """Return the traceparent that a record's headers carry, if it is valid.

    The last header of the name counts, as Kafka's clients have it. A record without headers costs next to nothing.
    """
    return parse_traceparent(last_header(record.headers, TRACEPARENT)) if record.headers else None


def trace_headers(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """Return those of a record's headers that carry its trace on, each once; none unless the traceparent is valid."""
    found = list(headers)
    traceparent = parse_traceparent(last_header(found, TRACEPARENT))
    if traceparent is None:
        return []
    state = last_header(found, TRACESTATE)
    kept = [(TRACESTATE, state)] if state and is_tracestate(state) else []
    return [(TRACEPARENT, traceparent.encode()), *kept]


def is_tracestate(value: bytes) -> bool:
    """Whether a tracestate may be passed on: a list of key=value, not too long. What it says is its vendors' affair."""
    if len(value) > TRACESTATE_BYTES:
        return False
    members = [member.strip(" \t") for member in value.decode("ascii", "replace").split(",")]
    return any(members) and all(_STATE_MEMBER.fullmatch(member) for member in members if member)


def trace_id_of(traceparent: Traceparent) -> str:
    """Return the trace id: 32 hexadecimal digits."""
    return traceparent[_TRACE_ID]


def parent_id_of(traceparent: Traceparent) -> str:
    """Return the id of the span that sent this: 16 hexadecimal digits."""
    return traceparent[_PARENT_ID]


def flags_of(traceparent: Traceparent) -> int:
    """Return the flags: 0 to 255."""
    return int(traceparent[_FLAGS], 16)


def is_sampled(traceparent: Traceparent) -> bool:
    """Whether the sender may have recorded the trace."""
    return bool(flags_of(traceparent) & _SAMPLED)


def new_traceparent() -> Traceparent:
    """Return the traceparent of a new trace, sampled."""
    made = None
    while made is None:  # all zeros are as likely as any other digits
        made = parse_traceparent(f"00-{urandom(16).hex()}-{urandom(8).hex()}-01")
    return made


def last_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> bytes | None:
    """Return the value of the last header of this name, None if there is none."""
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found
