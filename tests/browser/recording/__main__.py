"""`python -m tests.browser.recording`: writes docs/images/demo-light.webp and demo-dark.webp. `make recording`."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from orderflow.demo.signals import say, until_signalled
from orderflow.services.process import signal_all, wait_until_gone
from tests.browser.recording.camera import Camera
from tests.browser.recording.film import THEMES, Film
from tests.browser.recording.story import film_the_demo
from tests.browser.recording.workplace import copy_of_the_project, environment
from tests.support.browser import running_browser
from tests.support.programs import marked

IMAGES = Path(__file__).parents[3] / "docs" / "images"
_TIMEOUT_S = 300
_INTERRUPTED = 130
_END_S = 10


async def record() -> None:
    """Film the demo, then write the pictures. Raises `TimeoutError` after five minutes."""
    mark = f"recording-{os.getpid()}"
    with copy_of_the_project() as copy, tempfile.TemporaryDirectory(prefix="film-") as frames:
        film = Film(Path(frames))
        try:
            async with asyncio.timeout(_TIMEOUT_S), running_browser() as browser:
                await film_the_demo(film, Camera(browser), copy, environment(mark))
        finally:
            await _end(marked(mark))
        written = {f"demo-{theme}.webp": await asyncio.to_thread(film.write, theme) for theme in THEMES}
    for name, content in written.items():
        (IMAGES / name).write_bytes(content)
        say(f"{IMAGES / name}: {film.length_s:.0f} s, {len(content) / 1e6:.1f} MB")


async def _end(processes: list[psutil.Process]) -> None:
    """End what a demo that failed has left."""
    signal_all(processes, signal.SIGTERM)
    if not await wait_until_gone(processes, _END_S):
        signal_all(processes, signal.SIGKILL)
        await wait_until_gone(processes, _END_S)


def main() -> None:
    """Record, and leave nothing behind, also when interrupted."""
    try:
        if asyncio.run(until_signalled(record())):
            sys.exit(_INTERRUPTED)
    except (pytest.fail.Exception, AssertionError, EOFError, TimeoutError) as error:
        sys.exit(f"the recording failed: {error or f'it took longer than {_TIMEOUT_S} s'}")


if __name__ == "__main__":
    main()
