"""Log lines that are written once in a turn of the event loop."""

import asyncio
import threading
from io import BytesIO

import attrs

from engine.telemetry.logs import DeferredLines


@attrs.define(slots=False)
class File(BytesIO):
    """Counts how often it is written to."""

    writes: list[bytes] = attrs.field(factory=list)

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes are all that comes
        self.writes.append(data)
        return len(data)


async def test_lines_of_one_turn_are_one_write_in_their_order() -> None:
    """Nothing is written in the turn itself, everything right after it."""
    file = File()
    lines = DeferredLines(file)
    lines.info(b"first")
    lines.warning(b"second")
    assert file.writes == []
    await asyncio.sleep(0)
    lines.error(b"third")
    await asyncio.sleep(0)
    assert file.writes == [b"first\nsecond\n", b"third\n"]


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    """While a process starts or ends there is no later."""
    file = File()
    DeferredLines(file).info(b"only")
    assert file.writes == [b"only\n"]


def test_what_waits_when_the_loop_ends_is_written_before_the_next_line() -> None:
    """A loop that ends in the same turn takes no line with it."""
    file = File()
    lines = DeferredLines(file)

    async def last_turn() -> None:
        lines.info(b"in the loop")

    asyncio.run(last_turn())
    lines.info(b"after it")
    assert b"".join(file.writes) == b"in the loop\nafter it\n"


async def test_another_thread_leaves_alone_what_waits_for_the_loop() -> None:
    """Its own line is written at once, and none is lost or written twice: libraries log from threads of theirs."""
    file = File()
    lines = DeferredLines(file)
    lines.info(b"in the loop")
    thread = threading.Thread(target=lines.warning, args=(b"in a thread",))
    thread.start()
    thread.join()
    assert file.writes == [b"in a thread\n"]
    await asyncio.sleep(0)
    assert file.writes == [b"in a thread\n", b"in the loop\n"]
