"""Answers in JSON, and the headers that every answer carries."""

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
    """Return `content` as JSON that no cache keeps."""
    return web.Response(
        body=json.encode(content),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def error_answer(
    code: str, status: int, headers: Mapping[str, str] | None = None, *, allowed: str | None = None
) -> web.Response:
    """Return `{"error": code}`, and what is allowed. The code is a word of the contract, never an exception's text."""
    told = {} if allowed is None else {"allowed": allowed}
    return json_answer({"error": code, **told}, status, headers)


def add_security_headers(answer: web.StreamResponse) -> None:
    """Add what every answer carries. A header that the answer already has stays, save `Server`."""
    for name, value in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    answer.headers["Server"] = SERVER
