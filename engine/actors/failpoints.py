"""Failpoints: places in the code where a test can kill, freeze or block a worker.

A failpoint that is not active costs one call of an empty function. `ORDERFLOW_FAILPOINTS` activates failpoints, for
example `after-copy=kill@3` (several are separated by commas): kill the process when it reaches the place for the third
time. `ORDERFLOW_FAILPOINTS_FIRED` names a folder. Each failpoint that fires creates a file there, so that it fires only
once, and not again in the worker that replaces the killed one. Without the folder it fires in every worker.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

AT_BOOT = "at-boot"
AFTER_COPY = "after-copy"
"""Before the COMMIT. A batch that is one statement never gets here: no lock is held while the worker does anything."""
AFTER_COMMIT = "after-commit"
AFTER_CACHE_WRITE = "after-cache-write"
AFTER_DEAD_LETTER_SEND = "after-dead-letter-send"
PLACES = (AT_BOOT, AFTER_COPY, AFTER_COMMIT, AFTER_CACHE_WRITE, AFTER_DEAD_LETTER_SEND)
BLOCK_S = 3600.0
ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "block": lambda: time.sleep(BLOCK_S),
}

Reach = Callable[[str], None]


@attrs.frozen
class Failpoint:
    """Run `action` when the process reaches `place` for the `hit`-th time (from 1)."""

    place: str
    action: str
    hit: int


def parse_failpoints(text: str) -> list[Failpoint]:
    """Parse `place=action@hit,…`. Raises `ValueError`."""
    failpoints = []
    for part in filter(None, text.split(",")):
        place, _, shot = part.strip().partition("=")
        action, _, hit = shot.partition("@")
        if place not in PLACES or action not in ACTIONS or not (hit or "1").isdigit():
            raise ValueError(
                f"{part!r} is not one of {', '.join(PLACES)}, then = and one of {', '.join(ACTIONS)}, then @number"
            )
        failpoints.append(Failpoint(place, action, int(hit or 1)))
    return failpoints


def _unarmed(_place: str) -> None:
    return


def arm(environ: Mapping[str, str]) -> Reach:
    """Return the function to call at each place. Raises `ValueError` for a bad `ORDERFLOW_FAILPOINTS`."""
    points = parse_failpoints(environ.get("ORDERFLOW_FAILPOINTS", ""))
    if not points:
        return _unarmed
    fired = environ.get("ORDERFLOW_FAILPOINTS_FIRED")
    hits: Counter[str] = Counter()

    def reach(place: str) -> None:
        hits[place] += 1
        for point in points:
            if point.place == place and point.hit <= hits[place] and _first_to_fire(fired, point):
                ACTIONS[point.action]()

    return reach


def _first_to_fire(folder: str | None, point: Failpoint) -> bool:
    if folder is None:
        return True
    try:
        (Path(folder) / f"{point.place}-{point.action}-{point.hit}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


reach: Reach = arm(os.environ)
"""Call this with the name of the place, wherever a test may need a failpoint."""
