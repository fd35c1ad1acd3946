"""Sends raw HTTP requests, which may be invalid."""

import asyncio


async def exchange(port: int, request: bytes, *, ends: bool = False) -> bytes:
    """Send raw bytes, and return all bytes that the server sends until it closes the connection.

    `ends`: the client then ends its side of the connection at once, and only reads.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
