"""What a message's value is wrapped in (`KAFKA_VALUE_FORMAT`): nothing, a schema registry's frame, or an envelope.

A frame is a zero byte, a schema's id of four bytes, and then the JSON: Confluent's wire format with JSON Schema. An
envelope is what Kafka Connect's JsonConverter writes with schemas: `{"schema": …, "payload": …}`.
"""

JSON = "json"
CONFLUENT_JSON = "confluent-json"
ENVELOPE = "envelope"
VALUE_FORMATS = (JSON, CONFLUENT_JSON, ENVELOPE)
"""The values of `KAFKA_VALUE_FORMAT`, the default first."""
FRAME_BYTES = 5
ENVELOPE_NAMES = frozenset({"schema", "payload"})
_NO_SCHEMA = bytes(FRAME_BYTES)
"""The frame of a message whose schema is not known: registries count from 1, so no schema has the id 0."""


def is_framed(value: bytes) -> bool:
    """Return whether a value begins as a frame does, with room for something behind it."""
    return value[:1] == b"\x00" and len(value) > FRAME_BYTES


def describe_frame(value: bytes) -> str:
    """Return the words for the frame of a framed value, with the schema's id."""
    number = value[1:FRAME_BYTES].lstrip(b"\x00")
    # More than one byte that all are printable may be a text, which is not repeated.
    is_text = len(number) > 1 and all(0x20 <= byte < 0x7F for byte in number)  # noqa: PLR2004
    named = "a 4-byte schema id" if is_text else f"schema id {int.from_bytes(number, 'big')}"
    return f"a schema registry's frame (0x00, {named})"


def wrap(value: bytes | None, value_format: str, like: bytes | None = None) -> bytes | None:
    """Return JSON wrapped in this format. A message without a value, or with an empty one, stays as it is.

    A frame is that of the message `like` if it has one, else the one without a schema.
    """
    if not value or value_format == JSON:
        return value
    if value_format == ENVELOPE:
        return b'{"schema":null,"payload":%b}' % value
    return (like[:FRAME_BYTES] if like and is_framed(like) else _NO_SCHEMA) + value


def corrected(text: bytes, letter: bytes | None, value_format: str) -> bytes:
    """Return the value to send for a text that a person has written instead of a letter's.

    Nobody can type a frame: the text is what stands behind it, and the letter's own frame is put before it again. An
    envelope is text, and is edited with all that is in it.
    """
    if value_format != CONFLUENT_JSON or is_framed(text):
        return text
    return wrap(text, value_format, letter) or b""
