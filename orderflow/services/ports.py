"""Checks TCP ports, and finds free ports of the loopback interface."""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 20_000
_USUAL_EPHEMERAL = 32_768

share = (0, 1)
"""Index and count of the shares of ports: parallel test processes set it, so that each gets different free ports."""


def port_in_use(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server cannot listen on `port` of `host` (every interface when `host` is empty).

    Besides a listener, an outgoing connection that got this port as its local end holds it, and for a minute after its
    end too: `has_listener` distinguishes the two cases.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Old connections of a stopped server must not count: the server also uses this option.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def has_listener(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a process listens on `port` of `host`."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return True


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports. Another program may take one before it is used.

    They are below the kernel's range of ephemeral ports. In that range a client that connects to a stopped server may
    get the server's own port as its local port, and then block it.
    """
    number, shares = share
    ports = range(_LOWEST + number, _first_ephemeral(), shares)
    free: list[int] = []
    for port in random.sample(ports, len(ports)):
        if len(free) == count:
            break
        if not port_in_use(port):
            free.append(port)
    return free


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return _USUAL_EPHEMERAL
    return first if first > _LOWEST + 1_000 else _USUAL_EPHEMERAL
