"""Checks whether a server can listen on an address."""

import os
import socket

from orderflow.start.address import Address


def try_to_listen(address: Address) -> None:
    """Listen for a moment. Raises `OSError` when the address is taken, or does not belong to this machine."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    socket.create_server((address.host, address.port), family=family).close()


def reason_of(error: OSError) -> str:
    """Return the system's short error text, without the address that Python adds to it."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
