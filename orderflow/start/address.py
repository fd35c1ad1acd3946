"""Addresses in settings: host and port, without a login."""

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

import attrs

T = TypeVar("T")
MAX_PORT = 65535
_HOST_NAME = re.compile(r"[\w.-]+")


@attrs.frozen
class Address:
    """A TCP address. An empty host means every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def _ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_address(text: str, example: str = "127.0.0.1:8080 or :8080") -> Address:
    """Parse `host:port`; an IPv6 address is in brackets. Raises `ValueError` with what is allowed, and `example`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if (
        not (colon and port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT)
        or "/" in host
        or (":" in host and not _ip_address(host))
    ):
        raise ValueError(f"must be host:port with a port from 1 to {MAX_PORT}, such as {example}")
    return Address(host, int(port))


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse a comma-separated list of `host:port`. Raises `ValueError`."""
    try:
        addresses = tuple(parse_address(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        addresses = ()
    if not addresses or any(not address.host for address in addresses):
        raise ValueError("must be a comma-separated list of host:port, such as 127.0.0.1:59092")
    return addresses


def parse_redis_addresses(text: str) -> tuple[Address, ...]:
    """Parse a comma-separated list of `host:port`, which may lack a host. Raises `ValueError`."""
    return tuple(parse_address(part.strip(), "127.0.0.1:6379") for part in text.split(","))


def parse_hosts(text: str) -> str:
    """Return a comma-separated list of hosts and folders of sockets, without spaces. Raises `ValueError`."""
    hosts = [part.strip().removeprefix("[").removesuffix("]") for part in text.split(",")]
    if not all(host.startswith("/") or _ip_address(host) or _HOST_NAME.fullmatch(host) for host in hosts):
        raise ValueError(
            "must be a host name, an address, the folder of a socket, or a comma-separated list of these "
            "(POSTGRES_PORT is the port of all)"
        )
    return ",".join(hosts)


def without_login(parse: Callable[[str], T], kind: str, login: str) -> Callable[[str], T]:
    """Return a parser of an address that refuses a URL or a login. `login` names what to set instead."""

    def checked(text: str) -> T:
        if "@" in text or "://" in text:
            raise ValueError(f"must be {kind}, without a URL or a login{login and f': set {login}'}")
        return parse(text)

    return checked
