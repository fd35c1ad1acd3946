"""Heads of answers as bytes, equal to those that aiohttp writes for the answers of `lookup.serving.answers`."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from time import time

from aiohttp import web

from lookup.serving.answers import SECURITY_HEADERS, SERVER


class Date:
    """The header `Date`, which changes once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        """Return the current value."""
        second = int(time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


_NONE: Mapping[str, str] = {}


def head_template(status: int, headers: Mapping[str, str], *, closes: bool, last: Mapping[str, str] = _NONE) -> bytes:
    """Return a head in HTTP/1.1, to be completed with `%` and the length of the body and the date.

    Values of `headers` may have further placeholders. `closes`: the connection ends with this answer. `last` are
    headers at the end, without a `%`.
    """
    lines = {**headers, "Content-Length": "%d", "Date": "%b", "Server": SERVER}
    if closes:
        lines["Connection"] = "close"
    status_line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **SECURITY_HEADERS, **last}.items())
    return f"{status_line}{fields}\r\n".encode()


def render_answer(answer: web.Response, date: bytes, *, closes: bool, last: Mapping[str, str] = _NONE) -> bytes:
    """Return a JSON answer with its head. Its headers, and `last` at the end, may have no `%`."""
    assert isinstance(answer.body, bytes)
    head = head_template(answer.status, answer.headers, closes=closes, last=last)
    return head % (len(answer.body), date) + answer.body
