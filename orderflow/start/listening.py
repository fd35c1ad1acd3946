"""Whether an address can be listened on."""

import os
import socket

from orderflow.start.settings import Address


def try_to_listen(address: Address) -> None:
    """Listen for a moment. Raises `OSError` when the address is taken, or is none of this machine's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    socket.create_server((address.host, address.port), family=family).close()


def reason_of(error: OSError) -> str:
    """Return why, in a few words: Python adds the address to the system's own."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
