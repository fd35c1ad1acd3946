"""Bytes that are no JSON are named, so that whoever sent them knows what to change."""

import base64
import bz2
import gzip
import json
import lzma
import pickle
import time
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.decode import decode_order
from handlers.not_json import looks_like
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON
from handlers.value_formats import VALUE_FORMATS
from tests.support.bad_messages import NOT_JSON, ORDER, WHOLE, encode, order_with
from tests.support.decoding import refused

TEXT = WHOLE.decode()
END = len(WHOLE)
KAFKA = "let the Kafka producer compress (compression.type), not the application"
FRAME = "a schema registry's frame (0x00, schema id 100001)"
BINARY = "must be JSON, not a binary format such as Protobuf or Avro"
NO_BEGINNING = "must be JSON: it begins with neither { nor ["
NAMED = {
    "a byte-order mark": (b"\xef\xbb\xbf" + WHOLE, "must be JSON without a byte-order mark in front"),
    "UTF-16 with a mark": (
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        "must be JSON in UTF-8, not in UTF-16 (little-endian) with a byte-order mark",
    ),
    "UTF-16, big-endian, with a mark": (
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        "must be JSON in UTF-8, not in UTF-16 (big-endian) with a byte-order mark",
    ),
    "UTF-16": (TEXT.encode("utf-16-le"), "must be JSON in UTF-8, not in UTF-16 (little-endian)"),
    "UTF-16, big-endian": (TEXT.encode("utf-16-be"), "must be JSON in UTF-8, not in UTF-16 (big-endian)"),
    "UTF-32": (TEXT.encode("utf-32-le"), "must be JSON in UTF-8, not in UTF-32 (little-endian)"),
    "UTF-32, big-endian": (TEXT.encode("utf-32-be"), "must be JSON in UTF-8, not in UTF-32 (big-endian)"),
    "JSON in a frame": (
        b"\x00\x00\x01\x86\xa1" + WHOLE,
        f"must be JSON without {FRAME}: KAFKA_VALUE_FORMAT=confluent-json unwraps it",
    ),
    "something else in a frame": (
        b"\x00\x00\x01\x86\xa1\x02\x24b563",
        f"must be JSON, not Avro or Protobuf in {FRAME}",
    ),
    "gzip": (gzip.compress(WHOLE), f"must be JSON, not compressed with gzip: {KAFKA}"),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x00", f"must be JSON, not compressed with zstd: {KAFKA}"),
    "lz4": (b"\x04\x22\x4d\x18\x60\x40", f"must be JSON, not compressed with lz4: {KAFKA}"),
    "snappy, framed": (b"\xff\x06\x00\x00sNaPpY\x00", f"must be JSON, not compressed with snappy: {KAFKA}"),
    "snappy from Java": (b"\x82SNAPPY\x00\x00", f"must be JSON, not compressed with snappy: {KAFKA}"),
    "zlib": (zlib.compress(WHOLE), f"must be JSON, not compressed with zlib: {KAFKA}"),
    "xz": (lzma.compress(WHOLE), f"must be JSON, not compressed with xz: {KAFKA}"),
    "bzip2": (bz2.compress(WHOLE), f"must be JSON, not compressed with bzip2: {KAFKA}"),
    "an Avro file": (b"Obj\x01\x04\x14", "must be JSON, not Avro (an object container file)"),
    "one Avro object": (b"\xc3\x01" + bytes(8), "must be JSON, not Avro (single-object encoding)"),
    "Glue": (
        b"\x03\x00" + bytes(17),
        "must be JSON, not what AWS Glue's schema registry writes (0x03, a flag, a UUID)",
    ),
    "MessagePack": (msgspec.msgpack.encode(ORDER), "must be JSON, not MessagePack"),
    "CBOR": (b"\xb5\x69order_uid\x61a", "must be JSON, not CBOR"),
    "BSON": (b"\x16\x00\x00\x00\x02order_uid\x00\x02\x00\x00\x00a\x00\x00", "must be JSON, not BSON"),
    "Java": (b"\xac\xed\x00\x05sr", "must be JSON, not a serialized Java object"),
    "Python's pickle": (pickle.dumps(ORDER), "must be JSON, not a pickled Python object"),
    "Protobuf": (b"\x0a\x13b563feb7b2b84b6test\x12\x0eWBILMTESTTRACK", BINARY),
    "XML": (b"<?xml version='1.0'?><order/>", "must be JSON, not XML or HTML"),
    "base64": (base64.b64encode(WHOLE), "must be JSON, not JSON in base64"),
    "CSV": (b"order_uid,track_number\n1,2\n", NO_BEGINNING),
    "text": (b"order b563feb7b2b84b6test", NO_BEGINNING),
    "a NUL behind a brace": (b"{\x00", "a name in double quotes is missing at byte 1"),
    "white space": (b" \n", "must hold a JSON object, not only white space"),
    "two documents": (
        WHOLE + b"\n" + WHOLE,
        f"must be one JSON document, one order a message: another begins at byte {END + 1}",
    ),
    "NULs behind": (WHOLE + b"\x00\x00", f"must be a JSON document alone: NUL bytes follow it at byte {END}"),
    "a semicolon behind": (WHOLE + b";", f"must be a JSON document alone: something follows it at byte {END}"),
    "NaN": (b'{"sm_id": NaN}', "must be JSON, which has no NaN and no Infinity: byte 10"),
    "-Infinity": (
        b'{"x": "NaN \\" NaN", "sm_id": -Infinity}',
        "must be JSON, which has no NaN and no Infinity: byte 29",
    ),
    "Latin-1": ('{"city": "Zürich"}'.encode("latin-1"), "must be JSON in UTF-8: byte 11 is not UTF-8"),
    "an error behind Cyrillic": (
        '{"city": "Москва" "zip"}'.encode(),
        "a comma or a closing bracket is missing at byte 24",
    ),
    "a dictionary of Python": (str(ORDER).encode(), "an apostrophe stands where a double quote belongs at byte 1"),
    "None": (b'{"sm_id": None}', "None, True or False stands where null, true or false belongs at byte 10"),
    "a comma too many": (b'{"a": [1,]}', "a comma stands before a closing bracket at byte 9"),
    "a comma too many, in an object": (b'{"a": 1, }', "a comma stands before a closing bracket at byte 9"),
    "a comment": (b'{"a": 1 // one\n}', "a comment stands at byte 8"),
    "a leading zero": (b'{"a": 012}', "a number has a leading zero at byte 7"),
    "no colon": (b'{"a" 1}', "a colon is missing at byte 5"),
    "no name": (b"{a: 1}", "a name in double quotes is missing at byte 1"),
    "no value": (b'{"a": , "b": 1}', "a value is missing at byte 6"),
    "a line break": (b'{"a": "b\n"}', "a line break or another control character in a text is not escaped at byte 8"),
    "an escape": (b'{"a": "\\x41"}', "an unknown escape stands at byte 7"),
    "an escape with too few digits": (b'{"a": "\\u00zz"}', "an unknown escape stands at byte 8"),
    "depth": (b"[" * 100_000, "must not be nested deeper than 1,000 levels"),
}


def told(value: bytes | None, value_format: str = "json") -> str:
    (error,) = refused(value, value_format).errors
    assert error.path == ""
    return error.message


@pytest.mark.parametrize("name", NAMED)
def test_bytes_that_are_no_json_are_named(name: str) -> None:
    """What it is, or the byte, counted from 0."""
    value, message = NAMED[name]
    assert refused(value).reason == INVALID_JSON
    assert told(value).removeprefix("must be JSON: ") == message.removeprefix("must be JSON: ")


def test_nothing_at_all_is_told_from_no_value() -> None:
    """A tombstone deletes a key in a compacted topic: nobody should wait for it to delete an order."""
    assert told(None) == "must hold a JSON object, not a tombstone: this message has no value"
    assert told(b"") == "must hold a JSON object, not 0 bytes"
    assert refused(None).reason == refused(b"").reason == EMPTY_MESSAGE


@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_that_is_cut_off_is_told_as_such_wherever_it_ends(indent: int | None) -> None:
    """Inside a name, a number, an escape, a character: the byte is the message's length."""
    document = {**ORDER, "entry": 'Ж😀"\\\u0001\n', "rate": -1.5e-7, "flags": [True, False, None, {}]}
    for ascii_only in (True, False):
        whole = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
        for length in range(1, len(whole)):
            wanted = f"must be a whole JSON document: it is cut off at byte {length}"
            assert told(whole[:length]).startswith(wanted), whole[:length]


def test_a_text_that_does_not_end_is_told_with_its_beginning() -> None:
    """It may be the quote that is missing, and not the rest."""
    value = b'{"order_uid": "abc, "entry": "WBIL'
    assert told(b'{"order_uid": "abc') == (
        "must be a whole JSON document: it is cut off at byte 18, in a text that begins at byte 14"
    )
    assert told(value) == "must be JSON: a comma or a closing bracket is missing at byte 21"


def test_an_id_that_is_rather_text_is_not_repeated() -> None:
    """Four bytes behind a NUL may be anything, a part of a name too."""
    assert "schema id 73)" in told(b"\x00\x00\x00\x00I" + WHOLE)
    assert str(int.from_bytes(b"Iva", "big")) not in told(b"\x00\x00Ivan Petrov")
    message = told(b"\x00Anna" + WHOLE)
    assert message == (
        "must be JSON without a schema registry's frame (0x00, a 4-byte schema id): "
        "KAFKA_VALUE_FORMAT=confluent-json unwraps it"
    )


SECRET = st.text("QXZKVJ", min_size=6, max_size=10).map(lambda text: f"{text}7391")
SHELLS = st.sampled_from(
    [
        *(b'{"order_uid": %b}', b'{"%b": 1}', b'"%b"', b"%b", b'{"a": "%b', b"<a>%b</a>", b"\x00\x00\x00\x00\x05%b"),
        *(b"\xef\xbb\xbf%b", b"\x1f\x8b%b", b"\x0a\x13%b", b"['%b']", b'{"a": 1} %b', b"[%b, NaN]", b'{"a": "\xff%b"}'),
        *(b'{"schema": "%b", "payload": "%b"}', b'{"before": null, "after": {"order_uid": 1, "x": "%b"}}'),
        *(b'{"specversion": "1.0", "data": "%b"}', b'["%b"]', b'{"order_uid": 5, "date_created": "%b"}'),
    ]
)


@settings(max_examples=400)
@given(secret=SECRET, shell=SHELLS, value_format=st.sampled_from(VALUE_FORMATS))
def test_no_error_repeats_what_the_message_held(secret: str, shell: bytes, value_format: str) -> None:
    """Wherever it stands, and whatever the message is taken for."""
    value = shell.replace(b"%b", secret.encode())
    verdict = refused(value, value_format)
    assert secret not in repr(verdict)
    assert secret not in looks_like(value)


@settings(max_examples=500)
@given(
    value=st.binary(min_size=1, max_size=80)
    | st.builds(
        bytes.__add__, st.sampled_from([b"\x00", b"{", b"[", b'"', b"\xef\xbb\xbf", b"-", b"t"]), st.binary(max_size=40)
    )
    | st.builds(lambda at, junk: WHOLE[:at] + junk + WHOLE[at:], st.integers(0, END), st.binary(max_size=4)),
    value_format=st.sampled_from(VALUE_FORMATS),
)
def test_no_bytes_ever_raise_in_any_format(value: bytes, value_format: str) -> None:
    """Bad data is a value, and so is what it looks like."""
    decode_order(value, value_format)
    assert looks_like(value)


LARGE = 1 << 20
SLOW = {
    "a text that does not end": b'{"a": "' + b'\\"' * (LARGE // 2),
    "NaN at the end": b'{"a": "' + b'\\"' * (LARGE // 2) + b'", "b": NaN}',
    "quotes": b'"' * LARGE,
    "a frame": b"\x00\x00\x00\x00\x05" + b'{"a": "' + b"x" * LARGE + b'"}',
    "not UTF-8 at the end": b'{"a": "' + b"x" * LARGE + b"\xff",
    "white space": b" " * LARGE,
    "digits": b"[" + b"9" * LARGE,
    "brackets": b"[" * LARGE,
    "an object of objects": encode({f"x{n}": {"y": {}} for n in range(60_000)}),
    "two documents": order_with(("entry", "x" * LARGE)) + WHOLE,
    "Cyrillic, then an error": b'{"a": "' + "ж".encode() * (LARGE // 2) + b'" 1}',
}


@pytest.mark.parametrize("name", SLOW)
def test_a_megabyte_is_named_in_a_moment(name: str) -> None:
    """A hostile message must not stop a worker."""
    began_s = time.process_time()
    refused(SLOW[name])
    looks_like(SLOW[name])
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (gzip.compress(WHOLE), "gzip; begins with 1f 8b"),
        (TEXT.encode("utf-16-le"), "UTF-16 (little-endian)"),
        (b"\x00\x00\x00\x00\x05" + WHOLE, "JSON in a schema registry's frame (0x00, schema id 5)"),
        (WHOLE[:-1], "JSON with an error"),
        (b"\x0a\x13b563", "a binary format"),
        (b"hello", "text"),
    ],
)
def test_what_cannot_be_shown_is_described(value: bytes, words: str) -> None:
    """In words, with well-known bytes alone."""
    assert looks_like(value) == words


def test_every_example_of_bad_bytes_has_a_reason_of_its_own() -> None:
    """Nothing is left that is only "not JSON"."""
    assert "must be JSON in UTF-8" not in {told(value) for value in NOT_JSON.values()}
