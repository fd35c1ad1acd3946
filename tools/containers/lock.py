"""Keeps a second run out of the folder of the first."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orderflow.exits import Failed


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing. Raises `Failed` when another run holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another run of `make containers` uses {folder}: wait for its end") from None
        yield
