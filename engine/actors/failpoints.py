"""Places where a test may kill, freeze or block a worker. Unarmed they cost one call of an empty function.

Armed by `ORDERFLOW_FAILPOINTS`, such as `after-copy=kill@3` (several separated by commas): the third time that the
place is reached in a process, do it. `ORDERFLOW_FAILPOINTS_FIRED` names a folder in which each shot leaves its name, so
that it is fired once and not again by the worker that takes over; without it every worker fires.
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
    """Do `action` the `hit`-th time that `place` is reached."""

    place: str
    action: str
    hit: int


def parse_failpoints(text: str) -> list[Failpoint]:
    """Parse `place=action@hit,…`. Raises `ValueError`."""
    found = []
    for part in filter(None, text.split(",")):
        place, _, shot = part.strip().partition("=")
        action, _, hit = shot.partition("@")
        if place not in PLACES or action not in ACTIONS or not (hit or "1").isdigit():
            raise ValueError(
                f"{part!r} is not one of {', '.join(PLACES)}, then = and one of {', '.join(ACTIONS)}, then @number"
            )
        found.append(Failpoint(place, action, int(hit or 1)))
    return found


def _unarmed(_place: str) -> None:
    return


def arm(environ: Mapping[str, str]) -> Reach:
    """Return the function to call at each place."""
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
"""Call this where a test may want to strike, with the place's name."""
