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

from engine.heartbeat import Beat, HeartbeatSender, decode_beat, encode_beat, inherited_fd

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
from engine.heartbeat import watch_lifeline
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
