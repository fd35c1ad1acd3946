"""The two pipes between a worker and its supervisor.

On the heartbeat pipe the worker sends one JSON line per heartbeat. The lifeline pipe carries no data: when the
supervisor dies, the worker reads its end of file.
"""

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
    """One heartbeat of a worker. `overdue` is the name of a step whose deadline has passed."""

    state: str
    partitions: list[int] = attrs.field(factory=list)
    overdue: str | None = None
    details: dict[str, Any] = attrs.field(factory=dict)


_decode = json.Decoder(Beat).decode


def encode_beat(beat: Beat) -> bytes:
    """Encode a heartbeat as one line."""
    return json.encode(beat) + b"\n"


def decode_beat(line: bytes) -> Beat | None:
    """Decode one line. Returns None for an incomplete line: the worker died while it was writing."""
    try:
        return _decode(line)
    except DecodeError:
        return None


class HeartbeatSender:
    """Sends a heartbeat twice a second from the event loop: while the loop is blocked, nothing is sent.

    When `beat_now` is set, the next heartbeat is sent at once.
    """

    def __init__(self, fd: int | None, observe: Callable[[], Beat], beat_now: asyncio.Event | None = None) -> None:
        self._fd = fd
        self._observe = observe
        self._beat_now = beat_now or asyncio.Event()

    async def run(self) -> None:
        """Send heartbeats until cancelled. Returns at once if the process has no supervisor."""
        if self._fd is None:
            return
        os.set_blocking(self._fd, False)
        while True:
            self._beat_now.clear()
            try:
                os.write(self._fd, encode_beat(self._observe()))
            except BlockingIOError:
                pass  # the pipe is full: the supervisor will read a later heartbeat
            except OSError:
                return  # the supervisor has died: the lifeline stops this process
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._beat_now.wait()


class BeatReader:
    """Reads heartbeats from the pipe `fd`, which it owns, and calls `on_beat` with each of them."""

    def __init__(self, fd: int, on_beat: Callable[[Beat], None]) -> None:
        self._fd = fd
        self._on_beat = on_beat
        self._line = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Read the heartbeats that are left in the pipe, without waiting, and close it."""
        self._read()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while some := os.read(self._fd, MAX_LINE_BYTES):
                *lines, rest = (self._line + some).split(b"\n")
                self._line = rest[-MAX_LINE_BYTES:]  # a longer line is not a heartbeat
                for beat in filter(None, map(decode_beat, lines)):
                    self._on_beat(beat)
            self._loop.remove_reader(self._fd)  # end of file: the pipe would stay readable for ever


def inherited_fd(variable: str) -> int | None:
    """Return a file descriptor that the supervisor passed to this process, or None without a supervisor."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else None


def watch_lifeline(fd: int, stop: Callable[[], None], grace_s: float) -> None:
    """Call `stop` from a thread when the supervisor's end of the pipe closes, and exit `grace_s` seconds later.

    It is a thread because a worker with a blocked event loop must also end when its supervisor has died.
    """

    def watch() -> None:
        while os.read(fd, 1):
            pass
        stop()
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
