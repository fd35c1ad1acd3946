"""Whose certificates are accepted, and what a connection that failed over its encryption means."""

import asyncio
import os
import ssl
from typing import Any

import structlog

from engine.kafka.tls_errors import find_tls_error
from orderflow import events

PROBE_TIMEOUT_S = 2.0
_Version = tuple[int, int, int, int]


class FollowingContext(ssl.SSLContext):
    """What clients accept: certificates of the authorities in a PEM file, as it is when a connection is made.

    Clients read a context's file once and keep the context for as long as they live. This one looks at the file before
    each handshake and takes it anew when it has been replaced: authorities that are gone from it are trusted no more.
    A file that cannot be read just then, or is not whole, changes nothing until it can be. Connections that there are
    go on. `cafile` "" stands for the system's trust store, whose file `SSL_CERT_FILE` replaces. Raises `OSError`
    (`ssl.SSLError` is one) when the file cannot be read to begin with.
    """

    def __new__(cls, *_arguments: Any, **_options: Any) -> "FollowingContext":
        """Make a context for clients."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, cafile: str = "", *, check_hostname: bool = True) -> None:
        self._system = not cafile
        self._file = cafile or ssl.get_default_verify_paths().cafile or ""
        self.check_hostname = check_hostname  # a library may look at the context that it was given
        self._version = self._looked_at = self._version_now()
        self._current = self._load()

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection of an event loop, by what the file says now."""
        return self._followed().wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Begin a connection on a socket, by what the file says now."""
        return self._followed().wrap_socket(*arguments, **options)

    def _followed(self) -> ssl.SSLContext:
        # Looked at before it is read: what is written in between is another version the next time.
        version = self._version_now()
        if version == self._version:
            return self._current
        try:
            fresh = self._load()
            fresh.load_verify_locations(self._file)  # where the system's file cannot be read, `_load` says nothing
        except OSError as error:
            if version != self._looked_at and structlog.is_configured():
                structlog.get_logger().warning(events.CA_FILE_UNREADABLE, file=self._file, error=str(error))
        else:
            self._current, self._version = fresh, version
            if structlog.is_configured():
                structlog.get_logger().info(events.CA_FILE_REPLACED, file=self._file)
        self._looked_at = version
        return self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=None if self._system else self._file)
        context.check_hostname = self.check_hostname
        return context

    def _version_now(self) -> _Version | None:
        """Return what tells two versions of the file apart; None while there is no file."""
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def certificate_refusal(error: BaseException | None) -> str | None:
    """Return why a server's certificate was not accepted, or None if the error is another one."""
    found = find_tls_error(error)
    return found.verify_message if isinstance(found, ssl.SSLCertVerificationError) else None


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS server listens there, whatever its certificate. Takes `PROBE_TIMEOUT_S` at most."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return False
    writer.close()
    return True
