"""A TCP proxy in front of a service, with which a test simulates network faults.

It can refuse connections, hold or delay data, send it in small pieces, discard it, and close or reset connections.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from random import Random

import attrs

_CHUNK_BYTES = 65536
_LONG_SLICES, _LONG_SLICE_BYTES = 0.1, 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Way(Enum):
    """The two directions of data."""

    TO_SERVICE = "to the service"
    TO_CLIENT = "to the client"


@attrs.define(eq=False)
class _Connection:
    """A client's connection and the connection to the service. If it is `swallowed`, all further data is discarded."""

    task: "asyncio.Task[None]"
    writers: list[asyncio.StreamWriter]
    swallowed: bool = False

    def close(self) -> None:
        """Close both connections. Data that was not sent yet is lost."""
        for writer in self.writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Reset both connections (RST), as a machine does that does not know the connection."""
        for writer in self.writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close()


class TcpProxy:
    """Forwards TCP connections to one address, without faults until a test sets one. `open` removes all faults.

    With `tls` it terminates the clients' TLS, and connects to the service without encryption.
    """

    def __init__(
        self, host: str, port: int, listen_on: int = 0, tls: ssl.SSLContext | None = None, own_host: str = "127.0.0.1"
    ) -> None:
        self._target = (host, port)
        self._own_host = own_host
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._flowing = {way: asyncio.Event() for way in Way}
        self._cuts: dict[Way, tuple[bytes, asyncio.Event]] = {}
        self._delay: tuple[float, float, Random] | None = None
        self._slicing: Random | None = None
        self._swallowing = False
        self.port = listen_on
        self.holding = asyncio.Event()
        """An event that is set as soon as held data waits in the proxy."""
        self.captured: bytearray | None = None
        """If a test sets this to an empty array, all data that clients send is appended to it."""

    async def open(self) -> None:
        """Accept connections and forward all data without delay. Data that was discarded before stays lost."""
        self._swallowing = False
        self._delay = self._slicing = None
        self._cuts.clear()
        self.holding.clear()
        for flowing in self._flowing.values():
            flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self._own_host, self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    def lead_to(self, host: str, port: int) -> None:
        """Forward new connections to another address, as a name or a virtual address does after a failover."""
        self._target = (host, port)

    async def shut(self) -> None:
        """Refuse new connections and close the existing ones, as if the service were down."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, *ways: Way) -> None:
        """Hold back all data (or the data in these directions) without losing it, as if the service were frozen."""
        for way in ways or Way:
            self._flowing[way].clear()

    def delay(self, low_s: float, high_s: float, random: Random) -> None:
        """Delay all data by `low_s` to `high_s` seconds."""
        self._delay = (low_s, high_s, random)

    def slice(self, random: Random) -> None:
        """Forward single bytes, and sometimes a longer piece: only single bytes would take minutes."""
        self._slicing = random

    def swallow(self) -> None:
        """Accept all data and discard it, on the existing connections for ever.

        New connections are accepted. Their data is discarded until `open`.
        """
        self._swallowing = True
        for connection in self._connections:
            connection.swallowed = True

    def reset(self) -> int:
        """Reset all connections, and return their number. New connections are accepted."""
        found = list(self._connections)
        for connection in found:
            connection.reset()
        return len(found)

    async def cut(self, way: Way, text: bytes = b"") -> None:
        """Close the connection in the middle of the next frame in this direction that contains `text`.

        Returns when it is closed.
        """
        happened = asyncio.Event()
        self._cuts[way] = (text, happened)
        await happened.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, [writer], self._swallowing)
        self._connections.add(connection)
        try:
            if connection.swallowed:
                await self._pump(connection, reader, writer, Way.TO_SERVICE)
                return
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
                connection.writers.append(far_writer)
                await self._forward(connection, (reader, writer), (far_reader, far_writer))
        except asyncio.CancelledError:
            # `shut` has cancelled this task, which has nothing left to do: it ends normally.
            pass
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _forward(
        self,
        connection: _Connection,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        service: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        outward = asyncio.create_task(self._pump(connection, client[0], service[1], Way.TO_SERVICE))
        homeward = asyncio.create_task(self._pump(connection, service[0], client[1], Way.TO_CLIENT))
        try:
            await asyncio.wait({outward, homeward}, return_when=asyncio.FIRST_COMPLETED)
            if connection.swallowed:
                await outward  # with discarded data, the client must not see that the service closes the connection
        finally:
            for pump in (outward, homeward):
                pump.cancel()
            await asyncio.gather(outward, homeward, return_exceptions=True)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if way is Way.TO_SERVICE and self.captured is not None:
                    self.captured += chunk
                await self._pass_on(connection, chunk, writer, way)

    async def _pass_on(self, connection: _Connection, chunk: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        if not self._flowing[way].is_set():
            self.holding.set()
            await self._flowing[way].wait()
        if self._delay is not None:
            low_s, high_s, random = self._delay
            await asyncio.sleep(random.uniform(low_s, high_s))
        if connection.swallowed:
            return
        if way in self._cuts and self._cuts[way][0] in chunk:
            # The last byte always belongs to a frame, wherever the chunk starts and ends.
            writer.write(chunk[:-1])
            connection.close()
            self._cuts.pop(way)[1].set()
            return
        while self._slicing and chunk:
            size = self._slicing.randint(2, _LONG_SLICE_BYTES) if self._slicing.random() < _LONG_SLICES else 1
            writer.write(chunk[:size])
            await writer.drain()
            await asyncio.sleep(0)
            chunk = chunk[size:]
        writer.write(chunk)
        await writer.drain()


@asynccontextmanager
async def tcp_proxy(
    host: str, port: int, listen_on: int = 0, tls: ssl.SSLContext | None = None, own_host: str = "127.0.0.1"
) -> AsyncIterator[TcpProxy]:
    """Provide an open proxy in front of an address, on a free port or a given one, and close it afterwards."""
    proxy = TcpProxy(host, port, listen_on, tls, own_host)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.open()
        await proxy.shut()
