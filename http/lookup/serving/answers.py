"""JSON answers, and the headers of every answer."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from msgspec import json

NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of every answer that is not the page."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": NOTHING_ALLOWED,
}
SERVER = "orderflow"


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `content` as JSON with `Cache-Control: no-store`."""
    return web.Response(
        body=json.encode(content),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def error_answer(
    code: str, status: int, headers: Mapping[str, str] | None = None, *, allowed: str | None = None
) -> web.Response:
    """Return `{"error": code}`, with `allowed` if given. The code is a public name, never an exception's text."""
    details = {} if allowed is None else {"allowed": allowed}
    return json_answer({"error": code, **details}, status, headers)


def add_security_headers(answer: web.StreamResponse) -> None:
    """Add the headers of every answer. A header that the answer already has stays, except `Server`."""
    for name, value in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    answer.headers["Server"] = SERVER
