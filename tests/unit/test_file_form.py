"""A file that is not JSON lines is recognised by its beginning; a line that is no JSON does not change what it is."""

import asyncio
import gzip
import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from msgspec import json

from handlers.decode import decode_order
from handlers.model import Order
from orderflow.exits import Failed
from orderflow.publishing.file_form import LOOK_BYTES, Form, Look, describe_form, recognise
from orderflow.publishing.lines import MAX_LINE_BYTES, Lines
from orderflow.publishing.messages import generate_messages

FIRST, SECOND = (message.value or b"" for message in islice(generate_messages(5), 2))
PRETTY = json.format(FIRST, indent=2)
ARRAY = b"[" + FIRST + b"," + SECOND + b"]"
LINES = {
    "one line": FIRST,
    "lines": FIRST + b"\n" + SECOND,
    "lines of Windows, with blank ones": FIRST + b"\r\n\r\n" + SECOND + b"\r\n",
    "blank lines first": b"\n \r\n" + FIRST,
    "garbage": b"not json",
    "garbage first": b"not json, at all\n" + FIRST,
    "garbage like a table first": b"order_uid,track_number\n" + FIRST,
    "garbage like markup first": b"<order/>\n" + FIRST,
    "garbage like an array": b"[2026-01-02] started\n[2026-01-02] stopped",
    "an array first": b"[]\n" + FIRST,
    "a line that is cut off": FIRST[:-9] + b"\n" + SECOND,
    "a line that is cut off behind a name": b'{"order_uid":\n' + SECOND + b"\n",
    "a line with a comma": FIRST + b",\n" + SECOND + b"\n",
    "a brace": b"{",
    "a bracket": b"[\n",
    "a scalar": b"null\n1",
    "two documents on a line": FIRST + FIRST,
    "nested too deep": b"[" * 100_000,
    "a frame of a schema registry": b"\0\0\0\0\1" + FIRST,
    "a very long line": b'{"more":"' + b"x" * LOOK_BYTES + b'"}',
}
DOCUMENT, AN_ARRAY = "one JSON document over several lines", "a JSON array"
OTHERS = {
    "pretty": (PRETTY, DOCUMENT),
    "two pretty": (PRETTY + b"\n" + PRETTY, DOCUMENT),
    "pretty and cut off": (PRETTY[:-30], DOCUMENT),
    "array": (ARRAY, AN_ARRAY),
    "empty array": (b"[]\n", AN_ARRAY),
    "array of lines": (b"[\n" + FIRST + b",\n" + SECOND + b"\n]\n", AN_ARRAY),
    "array of one line": (b"[\n" + FIRST + b"\n]", AN_ARRAY),
    "pretty array": (json.format(ARRAY, indent=1), AN_ARRAY),
    "arrays on lines": (ARRAY + b"\n" + ARRAY, AN_ARRAY),
    "array without its brackets": (FIRST + b",\n" + SECOND + b",\r\n" + FIRST, "has a comma behind each order"),
    "mark": (b"\xef\xbb\xbf" + FIRST + b"\n" + SECOND, "begins with a byte-order mark"),
    "mark and pretty": (b"\xef\xbb\xbf" + PRETTY, f"byte-order mark, and is {DOCUMENT}"),
    "UTF-16": (FIRST.decode().encode("utf-16"), "is UTF-16, not UTF-8"),
    "UTF-16 without a mark": (FIRST.decode().encode("utf-16-be"), "is UTF-16BE, not UTF-8"),
    "UTF-16 array": (ARRAY.decode().encode("utf-16"), f"is UTF-16, not UTF-8, and is {AN_ARRAY}"),
    "UTF-32": (FIRST.decode().encode("utf-32"), "is UTF-32, not UTF-8"),
    "CSV": (b"order_uid,track_number\nuid,track\n", "is CSV"),
    "CSV without names": (b'a;"b";3\r\nc;d;4\r\n', "is CSV"),
    "one line of CSV": (b"order_uid\ttrack_number", "is CSV"),
    "CSV in UTF-16": ("order_uid,entry\n1,2".encode("utf-16"), "is UTF-16, not UTF-8, and is CSV"),
    "XML": (b"<?xml version='1.0'?>\n<orders/>", "is XML or HTML"),
    "gzip": (gzip.compress(FIRST), "is compressed with gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd....", "is compressed with zstd"),
    "nothing": (b"", "is empty"),
    "blank lines": (b"\n \r\n", "is empty"),
    "only a mark": (b"\xef\xbb\xbf", "is empty"),
}
CONVERTED = [
    "array without its brackets",
    "pretty",
    "two pretty",
    "array",
    "array of lines",
    "pretty array",
    "arrays on lines",
    "mark",
    "UTF-16 array",
]


@pytest.mark.parametrize("name", LINES)
def test_lines_stay_lines(name: str) -> None:
    """Whatever a line holds: it is sent, because that is how dead letters are tried out."""
    assert recognise(LINES[name], whole=True) is Look.LINES


@pytest.mark.parametrize("name", OTHERS)
def test_another_form_is_named(name: str) -> None:
    """In one line that names the file, says that nothing was sent, and what to do."""
    head, found = OTHERS[name]
    form = recognise(head, whole=True)
    assert isinstance(form, Form)
    line = describe_form(form, "my orders\x1b.json")
    assert line.startswith("my orders\\x1b.json ")
    assert found in line
    assert ". Nothing was sent. " in line
    assert len(line.splitlines()) == 1
    assert describe_form(form, None).startswith("standard input ")


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("name", [*LINES, *OTHERS])
def test_what_comes_in_pieces_is_the_same(name: str, size: int) -> None:
    """A pipe gives a few bytes at a time: as long as they do not tell, more are asked for."""
    head = LINES[name] if name in LINES else OTHERS[name][0]
    step = size if len(head) < LOOK_BYTES // 20 else LOOK_BYTES // 4
    pieces = (head[:end] for end in range(0, len(head), step))
    told = (found for piece in pieces if (found := recognise(piece, whole=False)) is not Look.MORE)
    assert next(told, recognise(head, whole=True)) == recognise(head, whole=True)


def test_the_first_order_tells() -> None:
    """A producer that writes a line an hour does not wait for its second line."""
    assert recognise(FIRST + b"\n", whole=False) is Look.LINES


def test_a_large_array_on_one_line_is_recognised_by_its_beginning() -> None:
    head = b"[" + b",".join([FIRST] * (2 * LOOK_BYTES // len(FIRST)))
    assert isinstance(recognise(head, whole=False), Form)


@pytest.mark.parametrize("way", ["jq", "python3"])
@pytest.mark.parametrize("name", CONVERTED)
def test_the_commands_that_are_proposed_work(name: str, way: str, tmp_path: Path) -> None:
    """What they write is one valid order a line: for a file with a space in its name, and for standard input."""
    head, _ = OTHERS[name]
    if way == "python3" and name in {"two pretty", "arrays on lines"}:
        pytest.skip("the module json reads one document")
    if way == "jq" and subprocess.run(["jq", "--version"], check=False, capture_output=True).returncode:
        pytest.skip("there is no jq")
    (tmp_path / "my orders").write_bytes(head)
    form = recognise(head, whole=True)
    assert isinstance(form, Form)
    for file, before in (("my orders", ""), (None, "cat 'my orders'")):
        commands = describe_form(form, file).split("`")[1::2]
        command = commands[0 if way == "python3" else -1].removesuffix(" | orderflow publish --file -")
        done = subprocess.run(command.replace("…", before), shell=True, cwd=tmp_path, check=True, capture_output=True)
        assert recognise(done.stdout, whole=True) is Look.LINES
        assert all(isinstance(decode_order(line), Order) for line in done.stdout.splitlines())


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


async def test_what_was_looked_at_is_not_lost(pipe: tuple[int, int]) -> None:
    """A pipe cannot be read twice; lines have the numbers of an editor, and the bytes they came with."""
    reader, writer = pipe
    lines = Lines(reader)
    looking = asyncio.create_task(lines.look())
    for piece in (b"\r\n", FIRST[:50], FIRST[50:] + b"\r\n\n", b"bad\n", b"last"):
        os.write(writer, piece)
        await asyncio.sleep(0)
    os.close(writer)
    assert await looking is None
    assert [line async for line in lines] == [(2, FIRST + b"\r"), (4, b"bad"), (5, b"last")]


async def test_of_a_file_only_the_beginning_is_looked_at(tmp_path: Path) -> None:
    """However long it is, and whether it tells anything."""
    file = tmp_path / "orders"
    file.write_bytes(b"\n" * 3 * LOOK_BYTES + FIRST)
    descriptor = os.open(file, os.O_RDONLY)
    lines = Lines(descriptor)
    assert await lines.look() is None
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == LOOK_BYTES
    assert [line async for line in lines] == [(3 * LOOK_BYTES + 1, FIRST)]
    os.close(descriptor)


async def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    """The lines before it are there; what no broker takes ends the reading."""
    file = tmp_path / "orders"
    file.write_bytes(FIRST + b"\n" + b'{"more":"')
    os.truncate(file, 10 * MAX_LINE_BYTES)
    descriptor = os.open(file, os.O_RDONLY)
    lines = Lines(descriptor)
    assert await lines.look() is None
    reading = aiter(lines)
    assert await anext(reading) == (1, FIRST)
    with pytest.raises(Failed, match=r"^line 2 is longer than 64 MiB"):
        await anext(reading)
    assert os.lseek(descriptor, 0, os.SEEK_CUR) < 2 * MAX_LINE_BYTES
    os.close(descriptor)
