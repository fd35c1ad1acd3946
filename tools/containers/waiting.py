"""Waits for what the system shows, by asking again and again."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp

from orderflow.exits import Failed

_POLL_S = 0.25
_REQUEST_TIMEOUT_S = 10
OK = 200


async def until(look: Callable[[], Awaitable[str | None]], timeout_s: float) -> None:
    """Wait until `look` returns None. Raises `Failed` with what it returned last after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while (seen := await look()) is not None:
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout_s:g} s: {seen}")
        await asyncio.sleep(_POLL_S)


async def answer(url: str) -> tuple[int, str]:
    """Return the status and the text of an HTTP answer; 0 and the error if there is none."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)) as session,
            session.get(url) as got,
        ):
            return got.status, await got.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return 0, type(error).__name__


async def until_ok(url: str, timeout_s: float) -> None:
    """Wait until a GET of `url` is answered with 200. Raises `Failed`."""

    async def look() -> str | None:
        status, text = await answer(url)
        return None if status == OK else f"{url} answers {status} {text[:200]}"

    await until(look, timeout_s)
