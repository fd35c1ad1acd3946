"""Origins in settings: a scheme, a host and a port, as browsers send them in the header `Origin`."""

import ipaddress
import re

from orderflow.start.address import MAX_PORT

_ORIGIN = re.compile(r"(https?)://(?:\[([0-9a-f:.]+)\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_origins(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of origins, which may be empty. Raises `ValueError` with what is allowed.

    A browser compares bytes: what it would write in another way is refused, because it would never match. `*` and
    `null` are refused, because every page that a reader opens could then read orders.
    """
    origins = [part.strip() for part in text.split(",")] if text else []
    for number, origin in enumerate(origins, start=1):
        if not _is_origin(origin):
            which = f" (number {number} is not)" if len(origins) > 1 else ""
            raise ValueError(
                "must be a comma-separated list of origins such as https://shop.example or http://localhost:3000: http "
                f"or https, in lower case, no default port, nothing behind the port, and neither * nor null{which}"
            )
    return tuple(dict.fromkeys(origins))


def _is_origin(text: str) -> bool:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return False
    scheme, ipv6, port = match.groups()
    if port is not None and (int(port) > MAX_PORT or int(port) == _DEFAULT_PORTS[scheme]):
        return False
    return ipv6 is None or _is_shortest(ipv6)


def _is_shortest(ipv6: str) -> bool:
    try:
        return str(ipaddress.IPv6Address(ipv6)) == ipv6
    except ValueError:
        return False
