"""Finds the names in `.env` that are no settings but were probably meant as one, and those that are set twice."""

import difflib
import re
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

import attrs
from dotenv.parser import parse_stream

from orderflow.start.settings import ENV_FILE, variables

_OF_COMPOSE = {f"{service}_HOST_PORT" for service in ("HTTP", "POSTGRES", "KAFKA", "REDIS")}
_OURS = ("POSTGRES_", "KAFKA_", "REDIS_", "BRAKE_")
"""Whoever writes such a name means this program. `HTTP_PROXY` or `LOG_DIR` may be those of another one."""
_CLOSE = 0.8
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@attrs.frozen
class OddName:
    """A name, the line in which it is, counted from 1, what is odd about it, and what to do."""

    line: int
    name: str
    problem: str
    remedy: str


def odd_names_of(env_file: Path = ENV_FILE) -> list[OddName]:
    """Return the odd names of a file; none if there is no such file, or if it cannot be read: `load_settings` tells."""
    try:
        text = env_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return list(odd_names(text, variables()))


def odd_names(text: str, known: Collection[str]) -> Iterator[OddName]:
    """Find the odd names in the text of a `.env`."""
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        name, line = binding.key, binding.original.line + _lines_before(binding.original.string)
        # Other text before a = may be the rest of a secret that has no quotes: it is not repeated.
        if name is None or not _NAME.fullmatch(name) or binding.error or binding.value is None:
            continue
        if name not in known and name not in _OF_COMPOSE:
            yield from _misspelt(name, line, known)
        elif name in lines:
            yield OddName(line, name, f"it is set in line {lines[name]} already", "remove one: the last one counts")
        lines[name] = line


def _misspelt(name: str, line: int, known: Collection[str]) -> Iterator[OddName]:
    meant = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_CLOSE)
    if meant:
        yield OddName(line, name, "it is not a setting", f"did you mean {meant[0]}?")
    elif name.startswith(_OURS):
        yield OddName(line, name, "it is not a setting", "`.env.example` lists all settings")


def _lines_before(statement: str) -> int:
    """Return how many line breaks come before the text of a statement."""
    return statement[: len(statement) - len(statement.lstrip())].count("\n")
