"""Reads the JSON bodies of the few requests that have one, within bounds of their own."""

import asyncio
from typing import TypeVar

from aiohttp import web
from msgspec import DecodeError, Struct, ValidationError, json

from lookup.refusal import Refused

T = TypeVar("T", bound=Struct)


async def read_body(request: web.Request, kind: type[T], *, max_bytes: int, deadline_s: float) -> T:
    """Return the body as `kind`. Raises `Refused`: 400, 408, 413 or 415, never quoting the body."""
    if request.content_type != "application/json":
        raise Refused("unsupported_media_type", 415)
    if (request.content_length or 0) > max_bytes:
        raise Refused("body_too_large", 413)
    received = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            # The application's own bound is for bodies that nobody reads: this one goes past it.
            async for chunk in request.content.iter_any():
                received += chunk
                if len(received) > max_bytes:
                    raise Refused("body_too_large", 413)
    except TimeoutError:
        raise Refused("request_timeout", 408) from None
    try:
        return json.decode(received, type=kind)
    except ValidationError as error:
        raise Refused("invalid_body", 400, allowed=_rule(error)) from None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_json", 400) from None


def _rule(error: ValidationError) -> str:
    """Return what is wrong; msgspec names types and fields, and quotes no value but an unknown field's name."""
    told = str(error)
    return "no other fields than are documented" if "unknown field" in told else told
