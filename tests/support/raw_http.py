"""Sends raw HTTP requests, which may be invalid."""

import asyncio


async def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes, and return all bytes that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
