"""Reads JSON request bodies, with a limit of size and a deadline."""

import asyncio
import re
from typing import TypeVar, get_type_hints

from aiohttp import web
from msgspec import DecodeError, Struct, ValidationError, json

from lookup.serving.query_parameters import WrongParameter
from lookup.serving.refusal import Refused

T = TypeVar("T", bound=Struct)

JSON = "application/json"
# These messages of msgspec name types and fields, and quote no value.
_WRONG_FIELD = re.compile(r"Expected .* - at `\$\.(\w+)`|Object missing required field `(\w+)`", re.ASCII)


async def read_body(request: web.Request, kind: type[T], *, max_bytes: int, deadline_s: float) -> T:
    """Return the body as `kind`; an empty body, of any content type, is an object without fields.

    Each field of `kind` is annotated with a `Meta` whose description says what is allowed. Raises `WrongParameter` for
    a wrong field, else `Refused`: 400, 408, 413 or 415. Neither quotes the body.
    """
    if request.can_read_body and request.content_type != JSON:
        raise Refused("unsupported_media_type", 415, allowed=JSON)
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    received = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            # `request.read` would apply the application's lower limit, which is for bodies that no route reads.
            async for chunk in request.content.iter_any():
                received += chunk
                if len(received) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise Refused("request_timeout", 408, allowed=f"a body that arrives within {deadline_s:g} s") from None
    try:
        return json.decode(received or b"{}", type=kind)
    except ValidationError as error:
        raise _wrong(error, kind) from None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise _invalid(kind) from None


def _wrong(error: ValidationError, kind: type[Struct]) -> WrongParameter | Refused:
    match = _WRONG_FIELD.fullmatch(str(error))
    if match is None:
        return _invalid(kind)
    field = match[1] or match[2]
    return WrongParameter(field, get_type_hints(kind, include_extras=True)[field].__metadata__[0].description)


def _invalid(kind: type[Struct]) -> Refused:
    fields = ", ".join(kind.__struct_fields__)
    allowed = f"a JSON object with no other fields than {fields}" if fields else "no body, or an empty JSON object"
    return Refused("invalid_body", 400, allowed=allowed)


def _too_large(max_bytes: int) -> Refused:
    return Refused("body_too_large", 413, allowed=f"at most {max_bytes} bytes")
