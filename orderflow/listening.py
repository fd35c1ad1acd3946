"""Whether an address can be listened on."""

import socket

from orderflow.settings import Address


def try_to_listen(address: Address) -> None:
    """Listen for a moment. Raises `OSError` when the address is taken, or is none of this machine's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    socket.create_server((address.host, address.port), family=family).close()
