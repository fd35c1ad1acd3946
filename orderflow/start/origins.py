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
        if meant := _meant(origin):
            raise ValueError(f"must name origins as browsers send them: {meant}, not {origin}{_why(origin)}")
        if not _is_origin(origin):
            which = f" (number {number} is not)" if len(origins) > 1 else ""
            raise ValueError(
                "must be a comma-separated list of origins such as https://shop.example or http://localhost:3000: http "
                f"or https, in lower case, no default port, nothing behind the port, and neither * nor null{which}"
            )
    return tuple(dict.fromkeys(origins))


def _meant(text: str) -> str | None:
    """Return the origin that is written in another way than browsers write it; None if it is none, or written well."""
    origin = text.lower().rstrip("/")
    for scheme, port in _DEFAULT_PORTS.items():
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(f":{port}")
    return origin if origin != text and _is_origin(origin) else None


def _why(text: str) -> str:
    return " (it ends with a slash)" if text.endswith("/") else ""


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
