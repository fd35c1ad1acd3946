"""The trace context of a message or a request: W3C Trace Context, version 00.

https://www.w3.org/TR/trace-context/ specifies the header `traceparent`: `00-<trace id>-<parent id>-<flags>`. An invalid
value is ignored. A valid value has only hexadecimal digits and hyphens, so it is safe in any log.
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
"""The length that the specification requires to be passed on. A longer value is not passed on."""
_LENGTH = 55
_TRACE_ID, _PARENT_ID, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
_SAMPLED = 0x01
# A trace id or a parent id of only zeros is not valid.
_VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A key, "=", and printable ASCII without "," and "=".
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")


def parse_traceparent(value: str | bytes | None) -> Traceparent | None:
    """Return the value if it is valid, else None. Does not raise."""
    if value is None or len(value) != _LENGTH:
        return None
    text = value if isinstance(value, str) else value.decode("ascii", "replace")
    return Traceparent(text) if _VALID.fullmatch(text) else None


def traceparent_of(record: Record) -> Traceparent | None:
    """Return the traceparent in the headers of a record, or None if there is no valid one.

    If there are several headers of this name, the last one counts, as in Kafka's clients.
    """
    return parse_traceparent(last_header(record.headers, TRACEPARENT)) if record.headers else None


def trace_headers(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """Return the trace headers of a record, each of them once. Empty if the traceparent is not valid."""
    record_headers = list(headers)
    traceparent = parse_traceparent(last_header(record_headers, TRACEPARENT))
    if traceparent is None:
        return []
    state = last_header(record_headers, TRACESTATE)
    kept = [(TRACESTATE, state)] if state and is_tracestate(state) else []
    return [(TRACEPARENT, traceparent.encode()), *kept]


def is_tracestate(value: bytes) -> bool:
    """Return whether a tracestate may be passed on: a list of key=value that is not too long."""
    if len(value) > TRACESTATE_BYTES:
        return False
    members = [member.strip(" \t") for member in value.decode("ascii", "replace").split(",")]
    return any(members) and all(_STATE_MEMBER.fullmatch(member) for member in members if member)


def trace_id_of(traceparent: Traceparent) -> str:
    """Return the trace id: 32 hexadecimal digits."""
    return traceparent[_TRACE_ID]


def parent_id_of(traceparent: Traceparent) -> str:
    """Return the parent id, which is the id of the sender's span: 16 hexadecimal digits."""
    return traceparent[_PARENT_ID]


def flags_of(traceparent: Traceparent) -> int:
    """Return the flags: 0 to 255."""
    return int(traceparent[_FLAGS], 16)


def is_sampled(traceparent: Traceparent) -> bool:
    """Return whether the flag `sampled` is set: the sender may have recorded the trace."""
    return bool(flags_of(traceparent) & _SAMPLED)


def new_traceparent() -> Traceparent:
    """Return the traceparent of a new trace, with the flag `sampled`."""
    traceparent = None
    while traceparent is None:  # the random digits could be all zeros, which is not valid
        traceparent = parse_traceparent(f"00-{urandom(16).hex()}-{urandom(8).hex()}-01")
    return traceparent


def last_header(headers: Iterable[tuple[str, bytes | None]], name: str) -> bytes | None:
    """Return the value of the last header of this name, or None if there is none."""
    last = None
    for key, value in headers:
        if key == name:
            last = value
    return last
