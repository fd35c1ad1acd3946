"""Recognises bytes that are not JSON by how they begin. It names only what can be told for certain enough."""

import re
from collections.abc import Callable

import attrs

from handlers.json_document import parse_document
from handlers.value_formats import FRAME_BYTES, describe_frame, is_framed

_COMPRESSED = "let the Kafka producer compress (compression.type), not the application"


@attrs.frozen
class ByteFormat:
    """What bytes are. `problem` is the error's text; `magic` are the well-known bytes that they begin with."""

    name: str
    problem: str
    magic: bytes = b""


def _compressed(name: str, magic: bytes) -> ByteFormat:
    return ByteFormat(name, f"must be JSON, not compressed with {name}: {_COMPRESSED}", magic)


def _other(name: str, magic: bytes) -> ByteFormat:
    return ByteFormat(name, f"must be JSON, not {name}", magic)


_BEGINNINGS = (
    _compressed("gzip", b"\x1f\x8b"),
    _compressed("zstd", b"\x28\xb5\x2f\xfd"),
    _compressed("lz4", b"\x04\x22\x4d\x18"),
    _compressed("snappy", b"\xff\x06\x00\x00sNaPpY"),
    _compressed("snappy", b"\x82SNAPPY\x00"),
    _compressed("zlib", b"\x78\x9c"),
    _compressed("zlib", b"\x78\xda"),
    _compressed("zlib", b"\x78\x01"),
    _compressed("xz", b"\xfd7zXZ\x00"),
    _compressed("bzip2", b"BZh91AY&SY"),
    _other("a zip archive", b"PK\x03\x04"),
    _other("Avro (an object container file)", b"Obj\x01"),
    _other("Avro (single-object encoding)", b"\xc3\x01"),
    _other("a serialized Java object", b"\xac\xed\x00\x05"),
    _other("a pickled Python object", b"\x80\x04\x95"),
    _other("a pickled Python object", b"\x80\x05\x95"),
    ByteFormat("UTF-8 with a byte-order mark", "must be JSON without a byte-order mark in front", b"\xef\xbb\xbf"),
)
_MARKS = (
    ("UTF-32 (little-endian)", b"\xff\xfe\x00\x00"),
    ("UTF-32 (big-endian)", b"\x00\x00\xfe\xff"),
    ("UTF-16 (little-endian)", b"\xff\xfe"),
    ("UTF-16 (big-endian)", b"\xfe\xff"),
)
_WIDE_JSON = re.compile(r'\s*[{\["][\s!-~]')
_WIDE = (
    ("UTF-32 (little-endian)", "utf-32-le"),
    ("UTF-32 (big-endian)", "utf-32-be"),
    ("UTF-16 (little-endian)", "utf-16-le"),
    ("UTF-16 (big-endian)", "utf-16-be"),
)
BASE64_OBJECT = re.compile(r"ey[JA]|ew[0o]")
"""How the JSON of an object begins in base64: `{"`, or a brace and white space."""
_GLUE = (b"\x03\x00", b"\x03\x05")
_GLUE_BYTES = 18
_PACKED_MAPS, _CBOR_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF}), frozenset({*range(0xA0, 0xBC), 0xBF})
_PACKED_UID = b"\xa9order_uid"
_CBOR_UID = b"\x69order_uid"
_BSON_UID = b"order_uid\x00"


def recognise(value: bytes) -> ByteFormat | None:
    """Return what these bytes, at least one, are. None: they may be text or JSON, or a format that cannot be told."""
    for look in _LOOKS:
        if found := look(value):
            return found
    return None


def _marked(value: bytes) -> ByteFormat | None:
    for name, mark in _MARKS:
        if value.startswith(mark):
            marked = f"{name} with a byte-order mark"
            return ByteFormat(marked, f"must be JSON in UTF-8, not in {marked}", mark)
    return None


def _beginning(value: bytes) -> ByteFormat | None:
    return next((known for known in _BEGINNINGS if value.startswith(known.magic)), None)


def _wide(value: bytes) -> ByteFormat | None:
    """Recognise JSON in characters of two or four bytes: its first two characters are ASCII."""
    for name, codec in _WIDE:
        text = value[:64].decode(codec, errors="ignore")
        if _WIDE_JSON.match(text):
            return ByteFormat(name, f"must be JSON in UTF-8, not in {name}")
    return None


def _framed(value: bytes) -> ByteFormat | None:
    if not is_framed(value):
        return None
    frame = describe_frame(value)
    if is_json(value[FRAME_BYTES:]):
        cure = f"must be JSON without {frame}: KAFKA_VALUE_FORMAT=confluent-json unwraps it"
        return ByteFormat(f"JSON in {frame}", cure)
    if value[FRAME_BYTES:].lstrip()[:1] == b"{":
        return ByteFormat(f"{frame} before something like JSON", f"must be JSON, whole and without {frame}")
    return ByteFormat(f"{frame} without JSON in it", f"must be JSON, not Avro or Protobuf in {frame}")


def _glue(value: bytes) -> ByteFormat | None:
    if len(value) > _GLUE_BYTES and value.startswith(_GLUE):
        return _other("what AWS Glue's schema registry writes (0x03, a flag, a UUID)", value[:2])
    return None


def _document_formats(value: bytes) -> ByteFormat | None:
    """Recognise other formats of documents: by a map at the beginning, and a name that every order has."""
    if value[0] in _PACKED_MAPS and _PACKED_UID in value:
        return _other("MessagePack", b"")
    if value[0] in _CBOR_MAPS and _CBOR_UID in value:
        return _other("CBOR", b"")
    if len(value) == int.from_bytes(value[:4], "little") and _BSON_UID in value:
        return _other("BSON", b"")
    return None


_LOOKS: tuple[Callable[[bytes], ByteFormat | None], ...] = (
    _marked,
    _beginning,
    _wide,
    _framed,
    _glue,
    _document_formats,
)


def is_json(value: bytes) -> bool:
    """Return whether these bytes are one JSON document in UTF-8."""
    try:
        parse_document(value.decode())
    except (ValueError, RecursionError):
        return False
    return True
