"""Text from messages and from other programs on a terminal."""

import re
import sys
from typing import Any

from msgspec import json

from engine.telemetry.printable import printable

__all__ = ["json_line", "printable", "printable_line"]

_LINE_BREAKS = str.maketrans({"\n": r"\n", "\r": r"\r"})
_UNPRINTABLE_ASCII = re.compile("[^ -~]")


def printable_line(text: str) -> str:
    """Return text from a message as one line of standard output: on a terminal printable, else all but line breaks."""
    return printable(text) if sys.stdout.isatty() else text.translate(_LINE_BREAKS)


def json_line(value: Any) -> str:
    """Return JSON in one line. Characters that are not printable are escaped, which changes nothing for a program."""
    text = json.encode(value).decode()
    return text if text.isprintable() else _UNPRINTABLE_ASCII.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    """Return a character as it is, or as JSON's escape: two of them beyond the first 65,536 characters."""
    char = match[0]
    if char.isprintable():
        return char
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))
