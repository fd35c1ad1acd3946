"""Reads the lines of a file, pipe or terminal that is open, after a look at its beginning."""

import asyncio
from collections.abc import AsyncIterator
from os import read

import attrs

from orderflow.exits import Failed
from orderflow.publishing.file_form import LOOK_BYTES, Form, Look, recognise

MAX_LINE_BYTES = 64 << 20
_READ_BYTES = 1 << 18


@attrs.define
class _Begun:
    """The pieces of a line whose end is not read yet."""

    pieces: list[bytes] = attrs.field(factory=list)
    size: int = 0

    def add(self, piece: bytes, number: int) -> None:
        self.pieces.append(piece)
        self.size += len(piece)
        if self.size > MAX_LINE_BYTES:
            raise Failed(f"line {number} is longer than {MAX_LINE_BYTES >> 20} MiB, which no broker takes as a message")

    def end(self, piece: bytes) -> bytes:
        line = b"".join((*self.pieces, piece))
        self.pieces, self.size = [], 0
        return line


class Lines:
    """The lines of `descriptor` that are not blank, with their numbers, from 1, and unchanged bytes.

    Nothing is read twice, so that a pipe works like a file; a line is there as soon as it is read. Raises `OSError` if
    it cannot be read.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._head = b""
        self._ended = False

    async def look(self) -> Form | None:
        """Return what this is if it is not JSON lines. Reads no more than it takes to tell, `LOOK_BYTES` at most."""
        while (found := recognise(self._head, whole=self._ended)) is Look.MORE and len(self._head) < LOOK_BYTES:
            self._head += await self._read()
        return found if isinstance(found, Form) else None

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each line. Raises `Failed` for a line that no broker takes."""
        number, begun, chunk = 1, _Begun(), self._head
        self._head = b""
        while chunk or not self._ended:
            first, *others = chunk.split(b"\n")
            for part in others:
                line = begun.end(first)
                if line.strip():
                    yield number, line
                number, first = number + 1, part
            begun.add(first, number)
            chunk = b"" if self._ended else await self._read()
        line = begun.end(b"")
        if line.strip():
            yield number, line

    async def _read(self) -> bytes:
        chunk = await _read(self._descriptor)
        self._ended = not chunk
        return chunk


async def _read(descriptor: int) -> bytes:
    """Read the available bytes. Waiting does not block the loop: a pipe may be idle for hours, and Ctrl-C must work."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # a regular file: epoll does not support it, and it is always readable
        return read(descriptor, _READ_BYTES)
    try:
        await readable.wait()
        return read(descriptor, _READ_BYTES)
    finally:
        loop.remove_reader(descriptor)
