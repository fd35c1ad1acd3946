"""Checks of this machine: Python, the address of the HTTP server, and tracing."""

import asyncio
import sys
from collections.abc import AsyncIterator

from engine.telemetry.tracing import TracingRefused, check_tracing
from orderflow.doctor.finding import Finding, Outcome, failed, ok
from orderflow.start.listening import reason_of, try_to_listen
from orderflow.start.settings import Settings

OLDEST_PYTHON = (3, 11)
_ASK = b"GET /livez HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n"
_OURS = b"Server: orderflow"


async def examine_machine(settings: Settings) -> AsyncIterator[Finding]:
    """Run the checks one after the other."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < OLDEST_PYTHON:
        yield failed("Python", f"{version} is too old", "run 3.11 or later")
    else:
        yield ok("Python", version)
    yield await _address(settings)
    yield _tracing()


def _tracing() -> Finding:
    try:
        wanted = check_tracing()
    except TracingRefused as refusal:
        return Finding("Tracing", Outcome.FAILED, str(refusal))
    return ok("Tracing", "spans are sent to a collector" if wanted else "off")


async def _address(settings: Settings) -> Finding:
    address = settings.http_address
    try:
        try_to_listen(address)
    except OSError as error:
        if await _is_ours(address.host or "127.0.0.1", address.port):
            return ok("HTTP address", f"{address} is held by a running orderflow")
        fix = "set HTTP_ADDR to another address, or stop the program that uses it"
        return failed("HTTP address", f"cannot listen on {address} ({reason_of(error)})", fix)
    return ok("HTTP address", f"{address} is free")


async def _is_ours(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_ASK)
                return _OURS in await reader.read(4096)
            finally:
                writer.close()
    except OSError:
        return False
