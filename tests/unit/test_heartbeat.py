"""Beats are lines; a line that a death cut off is no beat; and a worker hears when its supervisor is gone."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.processes.heartbeat import (
    MAX_LINE_BYTES,
    Beat,
    BeatReader,
    HeartbeatSender,
    decode_beat,
    encode_beat,
    inherited_fd,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
beats = st.builds(
    Beat,
    state=text,
    partitions=st.lists(st.integers(0, 10_000), max_size=8),
    overdue=st.none() | text,
    details=st.dictionaries(text, st.integers(-(2**53), 2**53) | text | st.lists(text, max_size=2), max_size=3),
)


@given(beat=beats)
def test_a_beat_is_one_line_and_comes_back_equal(beat: Beat) -> None:
    """Whatever its texts hold, a line feed among them."""
    line = encode_beat(beat)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_beat(line) == beat


@given(beat=beats, data=st.data())
def test_a_cut_off_line_is_no_beat(beat: Beat, data: st.DataObject) -> None:
    """Wherever the death cut it, nothing is made up from what is left."""
    line = encode_beat(beat)
    assert decode_beat(line[: data.draw(st.integers(0, len(line) - 2))]) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b'{"state":1}\n', b'{"state":"idle"}{"state":"idle"}\n', b"\xff\n"],
)
def test_a_line_that_is_no_beat_is_none(line: bytes) -> None:
    """Two halves of different beats, or anything else, never raise."""
    assert decode_beat(line) is None


def test_a_beat_of_a_later_version_is_understood() -> None:
    """Fields that this version does not know are ignored; absent ones have their defaults."""
    assert decode_beat(b'{"state":"idle","mood":"fine"}\n') == Beat("idle")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the test's own: its reading end and its writing end."""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def fill(fd: int) -> None:
    """Write until the pipe takes no more."""
    with suppress(BlockingIOError):
        while os.write(fd, b"x" * 4096):
            pass


async def read_line(fd: int) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, os.read, fd, 1 << 20)


async def test_a_beat_is_sent_at_once(pipe: tuple[int, int]) -> None:
    """The supervisor does not wait for the first one."""
    read, write = pipe
    task = asyncio.create_task(HeartbeatSender(write, lambda: Beat("idle", [3])).run())
    assert decode_beat(await read_line(read)) == Beat("idle", [3])
    task.cancel()
    await asyncio.wait({task})


async def test_news_does_not_wait_for_the_next_beat(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets the event has a beat sent at once, and one only."""
    monkeypatch.setattr("engine.processes.heartbeat.BEAT_S", 3600)
    read, write = pipe
    news, sent = asyncio.Event(), 0

    def observe() -> Beat:
        nonlocal sent
        sent += 1
        return Beat(str(sent))

    task = asyncio.create_task(HeartbeatSender(write, observe, news).run())
    assert decode_beat(await read_line(read)) == Beat("1")
    news.set()
    async with asyncio.timeout(10):
        assert decode_beat(await read_line(read)) == Beat("2")
    for _ in range(10):
        await asyncio.sleep(0)
    assert sent == 2
    task.cancel()
    await asyncio.wait({task})


async def test_what_a_process_said_last_is_read_before_its_pipe_is_closed(pipe: tuple[int, int]) -> None:
    """Though the event loop has had no time for it; a line that death cut off is no beat."""
    read, write = pipe
    heard: list[Beat] = []
    reader = BeatReader(os.dup(read), heard.append)
    os.write(write, encode_beat(Beat("first")) + encode_beat(Beat("last")) + encode_beat(Beat("cut off"))[:-3])
    assert heard == []
    reader.close()
    assert heard == [Beat("first"), Beat("last")]


async def test_beats_are_heard_as_they_come_in_whatever_pieces(pipe: tuple[int, int]) -> None:
    """Noise without an end, longer than any beat, is dropped; the next line counts."""
    read, write = pipe
    heard: list[Beat] = []
    reader = BeatReader(os.dup(read), heard.append)
    line = encode_beat(Beat("idle", [1, 2]))
    for piece in (line[:5], line[5:], *[b"x" * 4096] * (4 * MAX_LINE_BYTES // 4096), b"\n", line):
        os.write(write, piece)
        await asyncio.sleep(0.001)
    reader.close()
    assert heard == [Beat("idle", [1, 2])] * 2


async def test_the_end_of_a_pipe_is_not_read_again_and_again(pipe: tuple[int, int]) -> None:
    """A process that closed its end leaves the supervisor's event loop alone."""
    read, write = pipe
    own = os.dup(read)
    reader = BeatReader(own, [].append)
    os.close(write)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        await asyncio.sleep(0.05)
    assert not loop.remove_reader(own)
    reader.close()


async def test_a_slow_supervisor_does_not_hold_up_the_worker(pipe: tuple[int, int]) -> None:
    """A full pipe drops a beat, and the next one arrives."""
    read, write = pipe
    os.set_blocking(write, False)
    fill(write)
    seen = 0

    def observe() -> Beat:
        nonlocal seen
        seen += 1
        return Beat(str(seen))

    task = asyncio.create_task(HeartbeatSender(write, observe).run())
    while not seen:
        await asyncio.sleep(0)
    os.set_blocking(read, False)
    while len(os.read(read, 1 << 20)) == 1 << 20:
        pass
    os.set_blocking(read, True)
    assert decode_beat(await read_line(read)) == Beat("2")
    task.cancel()
    await asyncio.wait({task})


async def test_without_a_reader_the_sender_ends_quietly(pipe: tuple[int, int]) -> None:
    """The supervisor is gone: the lifeline deals with that."""
    read, write = pipe
    os.close(read)
    await HeartbeatSender(write, lambda: Beat("idle")).run()


async def test_without_a_supervisor_nothing_is_sent() -> None:
    """A worker that was started by hand observes nothing for nobody."""

    def observe() -> Beat:
        raise AssertionError("nobody asked")

    await HeartbeatSender(None, observe).run()


@pytest.mark.parametrize(("value", "expected"), [("7", 7), ("", None), ("-1", None), ("none", None)])
def test_a_descriptor_is_inherited_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: int | None
) -> None:
    """Without a supervisor the variable is absent or empty."""
    monkeypatch.setenv("TESTED_FD", value)
    assert inherited_fd("TESTED_FD") == expected


def test_a_missing_variable_is_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no supervisor."""
    monkeypatch.delenv("TESTED_FD", raising=False)
    assert inherited_fd("TESTED_FD") is None


ORPHAN = """
import sys, threading
from engine.processes.heartbeat import watch_lifeline
watch_lifeline(int(sys.argv[1]), lambda: print("stop", flush=True), 0.0)
print("ready", flush=True)
threading.Event().wait()
"""


def test_a_worker_whose_loop_is_blocked_does_not_outlive_its_supervisor(pipe: tuple[int, int]) -> None:
    """When the supervisor's end closes it is told to stop, and after its grace it ends with exit code 1."""
    read, write = pipe
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(read)], pass_fds=(read,), stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        assert worker.poll() is None
        os.close(write)
        assert worker.stdout.readline() == "stop\n"
        assert worker.wait(timeout=30) == 1
