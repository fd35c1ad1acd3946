"""A TCP proxy in front of a service: a test lets the network refuse, hold, delay, slice, swallow, cut or reset."""

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
    """The two ways that bytes go."""

    TO_SERVICE = "to the service"
    TO_CLIENT = "to the client"


@attrs.define(eq=False)
class _Connection:
    """One client's connection and its counterpart. Nothing ever passes again through one that is `swallowed`."""

    task: "asyncio.Task[None]"
    writers: list[asyncio.StreamWriter]
    swallowed: bool = False

    def close(self) -> None:
        """Hang up on both sides, whatever is still on its way."""
        for writer in self.writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Hang up as a machine does that knows of no such connection: with RST."""
        for writer in self.writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close()


class TcpProxy:
    """Forwards TCP connections to one address, well, until a test says otherwise. `open` mends everything.

    With `tls` it is where the clients' encryption ends: the service is spoken to in plain.
    """

    def __init__(self, host: str, port: int, listen_on: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
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
        """Set as soon as something waits at a proxy that holds."""
        self.heard: bytearray | None = None
        """All that clients have sent, for a test that sets this to an empty array."""

    async def open(self) -> None:
        """Accept connections, and let everything pass at once. What was swallowed or cut stays lost."""
        self._swallowing = False
        self._delay = self._slicing = None
        self._cuts.clear()
        self.holding.clear()
        for flowing in self._flowing.values():
            flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse new connections and cut those that there are, as a service that is down does."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, *ways: Way) -> None:
        """Let nothing pass (or nothing that goes one of these `ways`), but keep it, as a frozen service does."""
        for way in ways or Way:
            self._flowing[way].clear()

    def delay(self, low_s: float, high_s: float, random: Random) -> None:
        """Let everything wait between `low_s` and `high_s` seconds."""
        self._delay = (low_s, high_s, random)

    def slice(self, random: Random) -> None:
        """Let bytes pass one at a time, with a longer slice now and then: bytes alone would take minutes."""
        self._slicing = random

    def swallow(self) -> None:
        """Be a black hole: take all bytes and pass on none, neither now nor later on the connections that there are.

        New connections are accepted, and swallowed too until `open`.
        """
        self._swallowing = True
        for connection in self._connections:
            connection.swallowed = True

    def reset(self) -> int:
        """Reset every connection, and return how many there were. New ones are welcome."""
        found = list(self._connections)
        for connection in found:
            connection.reset()
        return len(found)

    async def cut(self, way: Way, text: bytes = b"") -> None:
        """Hang up within the next frame that goes this `way` and holds `text`. Returns when that has happened."""
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
            # Asked for by `shut`, and this task has nothing left to do: its end is a normal one.
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
                await outward  # a client in front of a black hole does not see the service hang up either
        finally:
            for pump in (outward, homeward):
                pump.cancel()
            await asyncio.gather(outward, homeward, return_exceptions=True)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if way is Way.TO_SERVICE and self.heard is not None:
                    self.heard += chunk
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
            # The last byte belongs to some frame, wherever the chunk begins and ends.
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
    host: str, port: int, listen_on: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[TcpProxy]:
    """Provide an open proxy in front of an address, on a free port or a given one, and close it afterwards."""
    proxy = TcpProxy(host, port, listen_on, tls)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.open()
        await proxy.shut()
