"""HTTP without a client's good manners."""

import asyncio


async def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
