"""Finds the lines of `.env` that docker compose, honcho and orderflow do not read alike, without repeating values.

The rules are those of the three programs that read the file: compose-go's package `dotenv`, `honcho.environ.parse`, and
python-dotenv. `tests/unit/test_env_lines.py` has the table of what each of them makes of a line.
"""

import re
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

import attrs
import structlog
from dotenv.parser import Binding, parse_stream

from orderflow import events
from orderflow.start.settings import ENV_FILE, variables

_BLANKS = " \t\r\n"
_BYTE_ORDER_MARK = "\ufeff"
_NAME = r"(?!export\b)[A-Za-z_][A-Za-z0-9_]*"
_DOLLAR = r"\$(?![^\W\d]|[{$])"
"""A dollar sign that nobody takes for the start of a variable, nor for an escaped dollar sign."""
_PLAIN = rf"""(?:[^\s'"\\#$]|{_DOLLAR})+"""
_SINGLE = r"""'(?:[^'\\$]|\$(?!\{)|\\(?![nt'\\]))*'"""
_DOUBLE = rf"""\"(?:[^"\\$]|{_DOLLAR}|\\["nt]|\\\\(?![nt]))*\""""
_ALIKE = re.compile(
    rf"{_NAME}[ \t]*=[ \t]*(?:(?:{_SINGLE}|{_DOUBLE})[ \t]*(?:\#.*)?|{_PLAIN}(?:[ \t]*|[ \t]*[ ]\#.*)|)"
)


@attrs.frozen
class OddLine:
    """A line, counted from 1, the name of its setting (empty if unknown), who reads it differently, and what to do."""

    line: int
    name: str
    difference: str
    remedy: str

    @property
    def detail(self) -> str:
        """The difference and the remedy, for messages."""
        return f"{self.difference}: {self.remedy}"


def odd_lines_of(env_file: Path = ENV_FILE) -> list[OddLine]:
    """Return the odd lines of a file; none if there is no such file, or if it cannot be read: `load_settings` tells."""
    try:
        with env_file.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return []
    return list(odd_lines(text, variables()))


def report_odd_lines() -> None:
    """Log a warning for each odd line of `.env`."""
    for odd in odd_lines_of():
        structlog.get_logger().warning(events.ENV_LINE_IS_ODD, line=odd.line, name=odd.name, detail=odd.detail)


def odd_lines(text: str, known: Collection[str]) -> Iterator[OddLine]:
    """Find the lines that not all programs read alike in the text of a `.env` with its original line ends."""
    marked = text.startswith(_BYTE_ORDER_MARK)
    given: set[str] = set()
    for binding in parse_stream(StringIO(text, newline="")):
        raw = binding.original.string
        statement = raw.lstrip(_BLANKS)
        line = binding.original.line + _line_breaks(raw[: len(raw) - len(statement)])
        name = binding.key if binding.key and "=" in statement and binding.key in known else ""
        if marked and statement and line == 1 and not statement.startswith("#"):
            yield OddLine(line, name, *_MARKED)
        elif found := _difference(statement, binding, given):
            yield OddLine(line, name, *found)
        if binding.key and binding.value:
            given.add(binding.key)


def same_everywhere(value: str) -> str | None:
    """Return how a value is written so that all read it alike: without quotes, in single or in double ones.

    None: there is no such way.
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    for pattern, written in ((_PLAIN, value), (_SINGLE, f"'{value}'"), (_DOUBLE, f'"{escaped}"')):
        if re.fullmatch(pattern, written) and len(written.splitlines()) == 1:
            return written
    return None


_MARKED = ("honcho ignores a setting after a byte-order mark", "save the file without the mark")
_CARRIAGE_RETURN = re.compile(r"\r(?!\n)")
_RETURN = ("docker compose does not end a line at a carriage return alone", "end the line with a line feed")
_INVISIBLE = ("honcho ends a line at an invisible character in it", "remove the character")
_NO_SETTING = ("docker compose does not start, or reads a setting here that the others ignore", "write NAME=value")
_EXPORT = ("honcho ignores a line that begins with export", "remove the word")
_EMPTY_AGAIN = ("honcho ignores an empty value, and keeps that of an earlier line", "remove the earlier line")
_UNREADABLE = (
    "orderflow ignores the line, docker compose and honcho do not start or read something else",
    "close the quote, leave nothing behind it, and put a value with quotes in double quotes",
)
_NAMED_ODDLY = (
    "honcho ignores a setting of such a name, or docker compose does not start",
    "use letters, digits and _ only",
)
_COMMENT = (
    "honcho begins a comment at every #, docker compose only at one that follows a value and a space",
    "put a value with # in single quotes ('), and one space before a comment",
)
_DOLLARS = "docker compose replaces $NAME, and reads $$ as $"
_BACKSLASH = {
    "": "honcho drops a backslash, or does not start",
    "'": "honcho reads \\n, \\t and \\' differently, and only orderflow reads \\\\ as \\",
    '"': "docker compose and honcho read such a backslash differently",
}
_REPLACED = "write the value itself; one that contains ${ has to be a real environment variable"


def _difference(statement: str, binding: Binding, given: Collection[str]) -> tuple[str, str] | None:
    """Return who reads a statement differently, and the remedy."""
    written = statement.rstrip(_BLANKS)
    name, equals, rest = written.partition("=")
    value = (binding.value or "").replace("\r\n", "\n")
    again = not rest.strip() and name.strip() in given
    alike = not written or written.startswith("#") or (_ALIKE.fullmatch(written) and not again)
    rules = [
        (_CARRIAGE_RETURN.search(statement), _RETURN),
        ("\n" in written, ("honcho does not start with a value of several lines", _remedy(value))),
        (len(written.splitlines()) > 1, _INVISIBLE),
        (alike, None),
        (again, _EMPTY_AGAIN),
        (not equals or re.match(r"[^\s=]*\s*:", name), _NO_SETTING),
        (re.match(r"export\s", name), _EXPORT),
        (not re.fullmatch(rf"{_NAME}[ \t]*", name), _NAMED_ODDLY),
        (binding.error, _UNREADABLE),
        (True, _difference_of_values(rest.strip(" \t"), value)),
    ]
    return next(found for applies, found in rules if applies)


def _difference_of_values(written: str, value: str) -> tuple[str, str]:
    """Return the same for a value as it is written, and as orderflow reads it."""
    quote = written[:1] if written[:1] in {"'", '"'} else ""
    inner = re.sub(r'\\(["\\])', r"\1", written.strip('"')) if quote == '"' else value
    rules = [
        ("${" in written and quote == "'", ("orderflow replaces ${NAME} even here", _REPLACED)),
        ("${" in written, ("honcho does not replace ${NAME}", _REPLACED)),
        (quote != "'" and re.search(r"\$[^\W\d]|\$\$", written), (_DOLLARS, _remedy(value))),
        ("\\" in written, (_BACKSLASH[quote], _remedy(inner))),
        ("#" in written, _COMMENT),
        ("'" in written or '"' in written, ("honcho removes quotes within a value, or does not start", _remedy(value))),
        (re.search(r"[ \t]", written), ("honcho joins the words of a value without quotes", _remedy(value))),
        (True, ("not all of them keep such a character", _remedy(value))),
    ]
    return next(found for applies, found in rules if applies)


def _remedy(value: str) -> str:
    """Return how to write a value, without repeating it."""
    written = same_everywhere(value)
    if written is None:
        return "remove it, and set it as a real environment variable"
    if written.startswith('"'):
        return 'put the value in double quotes, with \\" for ", \\\\ for \\ and \\n for a line break'
    return "put the value in single quotes (')"


def _line_breaks(text: str) -> int:
    return len(re.findall(r"\r\n|\n|\r", text))
