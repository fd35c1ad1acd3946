"""Connections that end when the other end's machine falls silent: it has lost its power or its network.

A process that ends closes its connections, and one that is frozen lets its kernel answer. A machine that is gone does
neither: without these options the kernel sends again for a quarter of an hour, and waits for an answer for ever.
"""

import socket
from typing import Any

from asyncpg import Connection

SILENT_S = 15
"""How long nothing may be heard from a machine that has something to confirm."""
IDLE_S = 5
INTERVAL_S = 2
_INET = frozenset({socket.AF_INET, socket.AF_INET6})


class WatchedConnection(Connection):
    """A connection that is closed after `SILENT_S` seconds, and up to `INTERVAL_S` more, of its server's silence.

    The reason for the limit and not a shorter one: it also ends a connection whose server is there, and has not read
    for so long what it was sent.
    """

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        end_when_silent(transport.get_extra_info("socket"))


def end_when_silent(connected: Any) -> None:
    """Set the options of a connected socket. One that leads to no other machine needs none."""
    if connected.family not in _INET:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE_S),
        (socket.TCP_KEEPINTVL, INTERVAL_S),
        # What was sent and is not confirmed; where it is set, it also replaces the number of keepalives.
        (socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
    ):
        connected.setsockopt(socket.IPPROTO_TCP, option, value)
