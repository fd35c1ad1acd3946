"""Dead letters that PostgreSQL does not store whole: they are stored in a reduced form instead.

First the texts are left out: headers, subject and error texts, which the database's encoding may lack characters for.
Then the content is: key and payload, which a constraint or a trigger on the table may refuse.
"""

from hashlib import sha256

import attrs

from engine.dead_letters.headers import encode_headers
from engine.records import Record
from engine.verdict import REFUSED_BY_DATABASE, FieldError, Rejected


@attrs.frozen
class Reduced(Rejected):
    """A rejection whose dead letter is stored without its texts, or also without its content."""

    without_content: bool = False


def reduce(verdict: Rejected, refusal: str) -> Reduced | None:
    """Return the next smaller form of a rejection, or None after the smallest. `refusal` says why, without data."""
    if not isinstance(verdict, Reduced):
        note = f"stored without headers, subject and error texts: {refusal}"
        # Only these texts are the engine's own.
        own = verdict.errors if verdict.reason == REFUSED_BY_DATABASE else ()
        errors = tuple(FieldError("", _plain(error.message)) for error in (*own, FieldError("", note)))
        return Reduced(_plain(verdict.reason), errors)
    if not verdict.without_content:
        note = f"stored without key and payload: {refusal}"
        return attrs.evolve(verdict, errors=(FieldError("", _plain(note)),), without_content=True)
    return None


def stored_content(record: Record, verdict: Rejected) -> tuple[bytes | None, bytes | None, str]:
    """Return the key, the payload and the headers' JSON of a dead letter as they are stored."""
    if not isinstance(verdict, Reduced):
        return record.key, record.value, encode_headers(record)
    if not verdict.without_content:
        return record.key, record.value, "[]"
    return None, f"not stored: key {_summary(record.key)}, payload {_summary(record.value)}".encode(), "[]"


def _summary(content: bytes | None) -> str:
    return "none" if content is None else f"of {len(content)} bytes (SHA-256 {sha256(content).hexdigest()})"


def _plain(text: str) -> str:
    """Return the text in characters that every encoding of a database has."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
