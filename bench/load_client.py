"""A load generator: on each keep-alive connection it waits for the answer and sends the next request, as wrk does.

    python -m bench.load_client PORT CONNECTIONS SECONDS STATUS FILE

FILE contains one uid per line. With SECONDS above 0 the uids are requested repeatedly for that time; with 0 each is
requested once. Prints a JSON object. Each answer is checked: it has STATUS and, if that is 200, contains the uid. The
client uses plain sockets and epoll, because it shares the machine with the server that it measures.
"""

import json
import re
import select
import socket
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from time import perf_counter, process_time

import attrs

from bench.summary import percentile

_READ_BYTES = 65536
_ANSWER_TIMEOUT_S = 10.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n(?i:content-length): *(\d+)")
_LAST_CHUNK = b"\r\n0\r\n\r\n"
"""The end of an answer without a length, in chunks. JSON contains no line breaks of this kind."""
_REQUEST = b"GET /order/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@attrs.define(eq=False)
class _Connection:
    socket: socket.socket
    uid: bytes = b""
    asked_at: float = 0.0
    received: bytes = b""

    def ask(self, uid: bytes) -> None:
        self.uid, self.received = uid, b""
        self.asked_at = perf_counter()
        self.socket.sendall(_REQUEST % uid)


@attrs.define
class _Load:
    """Requests the uids in `uids` until it ends, or until `until` (by the performance counter)."""

    uids: Iterator[bytes]
    until: float
    status: bytes
    latencies: list[float] = attrs.field(factory=list)
    wrong: int = 0

    def run(self, connections: list[_Connection]) -> None:
        epoll = select.epoll()
        by_descriptor = {connection.socket.fileno(): connection for connection in connections}
        for descriptor in by_descriptor:
            epoll.register(descriptor, select.EPOLLIN)
        busy = sum(self._ask(connection) for connection in connections)
        while busy:
            ready = epoll.poll(_ANSWER_TIMEOUT_S)
            if not ready:
                sys.exit(f"load client: no answer within {_ANSWER_TIMEOUT_S:g} s")
            for descriptor, _ in ready:
                connection = by_descriptor[descriptor]
                if self._read(connection) and not self._ask(connection):
                    busy -= 1

    def _ask(self, connection: _Connection) -> bool:
        uid = next(self.uids, None) if perf_counter() < self.until else None
        if uid is None:
            return False
        connection.ask(uid)
        return True

    def _read(self, connection: _Connection) -> bool:
        """Read the available data. Returns whether the answer is complete."""
        data = connection.socket.recv(_READ_BYTES)
        if not data:
            sys.exit("load client: the server has closed a connection")
        if connection.received:
            data = connection.received + data
        if not is_complete(data):
            connection.received = data
            return False
        self.latencies.append(perf_counter() - connection.asked_at)
        if not data.startswith(b"HTTP/1.1 %b " % self.status) or (self.status == b"200" and connection.uid not in data):
            self.wrong += 1
        return True


def is_complete(answer: bytes) -> bool:
    """Return whether the answer has its head and its whole body, of a known length or in chunks."""
    head_end = answer.find(_HEAD_END)
    if head_end < 0:
        return False
    length = _LENGTH.search(answer, 0, head_end)
    if length is None:
        return answer.endswith(_LAST_CHUNK)
    return len(answer) >= head_end + len(_HEAD_END) + int(length[1])


def main() -> None:
    """Read the arguments, generate the load, and print the result."""
    port, count, seconds, status = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode()
    uids = Path(sys.argv[5]).read_bytes().split()
    try:
        found = _measure(port, count, seconds, status, uids)
    except OSError as error:
        sys.exit(f"load client: the connection failed: {error}")
    print(json.dumps(found))


def _measure(port: int, count: int, seconds: float, status: bytes, uids: list[bytes]) -> dict[str, float]:
    connections = [_Connection(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
    for connection in connections:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began, began_processor = perf_counter(), process_time()
    until = began + seconds if seconds else float("inf")
    load = _Load(cycle(uids) if seconds else iter(uids), until, status)
    load.run(connections)
    elapsed, spent = perf_counter() - began, process_time() - began_processor
    return {
        "requests": len(load.latencies),
        "seconds": elapsed,
        "p50_ms": percentile(load.latencies, 50) * 1000,
        "p99_ms": percentile(load.latencies, 99) * 1000,
        "wrong": load.wrong,
        "busy": spent / elapsed,
    }


if __name__ == "__main__":
    main()
