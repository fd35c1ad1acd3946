"""TCP ports of the loopback interface: which are free, and which are held."""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 20_000
_USUAL_EPHEMERAL = 32_768

share = (0, 1)
"""Which of how many shares of the ports `free_ports` gives: whoever takes ports side by side wants different ones."""


def held(port: int, host: str = LOOPBACK) -> bool:
    """Return whether no server can listen on `port` of `host` (every interface when `host` is empty).

    Besides a listener, an outgoing connection that got this port as its local end holds it, and for a minute after its
    end too: ask `listens` to tell the two apart.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections that a server has left behind must not count: it will start with this option too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def listens(port: int, host: str = LOOPBACK) -> bool:
    """Return whether some process listens on `port` of `host`."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return True


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nobody holds now. Somebody may take one before it is used.

    They lie below the range that the kernel takes the local ends of connections from. In that range a client that tries
    to reach a server which is down may be given the server's own port, and then holds it.
    """
    number, shares = share
    ports = range(_LOWEST + number, _first_ephemeral(), shares)
    found: list[int] = []
    for port in random.sample(ports, len(ports)):
        if len(found) == count:
            break
        if not held(port):
            found.append(port)
    return found


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return _USUAL_EPHEMERAL
    return first if first > _LOWEST + 1_000 else _USUAL_EPHEMERAL
