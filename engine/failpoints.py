"""Places where a test may kill or freeze a worker. Unarmed they cost one call of an empty function.

Armed by `ORDERFLOW_FAILPOINTS`, such as `after-copy=kill@3` (several separated by commas): the third time that the
place is reached in a process, do it. `ORDERFLOW_FAILPOINTS_FIRED` names a folder in which each shot leaves its name, so
that it is fired once and not again by the worker that takes over.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

AFTER_COPY = "after-copy"
AFTER_COMMIT = "after-commit"
AFTER_CACHE_WRITE = "after-cache-write"
AFTER_DEAD_LETTER_SEND = "after-dead-letter-send"
PLACES = (AFTER_COPY, AFTER_COMMIT, AFTER_CACHE_WRITE, AFTER_DEAD_LETTER_SEND)
SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}

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
        if place not in PLACES or action not in SIGNALS or not (hit or "1").isdigit():
            raise ValueError(f"{part!r} is not one of {', '.join(PLACES)}, then =kill or =freeze, then @number")
        found.append(Failpoint(place, action, int(hit or 1)))
    return found


def _unarmed(_place: str) -> None:
    return


def arm(environ: Mapping[str, str]) -> Reach:
    """Return the function to call at each place."""
    points = parse_failpoints(environ.get("ORDERFLOW_FAILPOINTS", ""))
    if not points:
        return _unarmed
    fired = Path(environ["ORDERFLOW_FAILPOINTS_FIRED"])
    hits: Counter[str] = Counter()

    def reach(place: str) -> None:
        hits[place] += 1
        for point in points:
            if point.place == place and point.hit <= hits[place] and _first_to_fire(fired, point):
                os.kill(os.getpid(), SIGNALS[point.action])

    return reach


def _first_to_fire(folder: Path, point: Failpoint) -> bool:
    try:
        (folder / f"{point.place}-{point.action}-{point.hit}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


reach: Reach = arm(os.environ)
"""Call this where a test may want to strike, with the place's name."""
