"""The pipe between a worker and its supervisor: a JSON line a beat one way, and the end of file the other way."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from msgspec import DecodeError, json

HEARTBEAT_FD_VARIABLE = "ORDERFLOW_HEARTBEAT_FD"
LIFELINE_FD_VARIABLE = "ORDERFLOW_LIFELINE_FD"
BEAT_S = 0.5
MAX_LINE_BYTES = 64 * 1024


@attrs.define
class Beat:
    """What a worker says of itself. `overdue` names a step that is past its deadline."""

    state: str
    partitions: list[int] = attrs.field(factory=list)
    overdue: str | None = None
    details: dict[str, Any] = attrs.field(factory=dict)


_decode = json.Decoder(Beat).decode


def encode_beat(beat: Beat) -> bytes:
    """Return the beat as one line."""
    return json.encode(beat) + b"\n"


def decode_beat(line: bytes) -> Beat | None:
    """Return the beat that a line holds, or None for a line cut off by a death."""
    try:
        return _decode(line)
    except DecodeError:
        return None


class HeartbeatSender:
    """Sends a beat twice a second from the event loop: if the loop does not turn, nothing is sent.

    `news` is set by whoever has something to tell that cannot wait for the next beat.
    """

    def __init__(self, fd: int | None, observe: Callable[[], Beat], news: asyncio.Event | None = None) -> None:
        self._fd = fd
        self._observe = observe
        self._news = news or asyncio.Event()

    async def run(self) -> None:
        """Beat until cancelled. Without a supervisor there is nobody to send to, and nothing to do."""
        if self._fd is None:
            return
        os.set_blocking(self._fd, False)
        while True:
            self._news.clear()
            try:
                os.write(self._fd, encode_beat(self._observe()))
            except BlockingIOError:
                pass  # the supervisor is slow to read: it will see the next one
            except OSError:
                return  # it is gone: the lifeline deals with that
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._news.wait()


class BeatReader:
    """Reads beats from the pipe `fd`, which it owns, and gives each to `heard` as it comes."""

    def __init__(self, fd: int, heard: Callable[[Beat], None]) -> None:
        self._fd = fd
        self._heard = heard
        self._line = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Read what is in the pipe yet, without waiting, and close it."""
        self._read()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while some := os.read(self._fd, MAX_LINE_BYTES):
                *lines, rest = (self._line + some).split(b"\n")
                self._line = rest[-MAX_LINE_BYTES:]  # what is longer is no beat
                for beat in filter(None, map(decode_beat, lines)):
                    self._heard(beat)
            self._loop.remove_reader(self._fd)  # its end: it would be ready for ever


def inherited_fd(variable: str) -> int | None:
    """Return a file descriptor that the supervisor handed down, or None when there is no supervisor."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else None


def watch_lifeline(fd: int, stop: Callable[[], None], grace_s: float) -> None:
    """Call `stop` from a thread when the supervisor's end of the pipe closes; `grace_s` later, end the process.

    A thread, because a worker whose event loop is blocked must not outlive its supervisor either.
    """

    def watch() -> None:
        while os.read(fd, 1):
            pass
        stop()
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
