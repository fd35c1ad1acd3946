"""TLS contexts of clients, and the reasons of failed TLS connections."""

import asyncio
import os
import ssl
from typing import Any

import structlog

from engine.kafka.tls_errors import find_tls_error
from orderflow import events

PROBE_TIMEOUT_S = 2.0
_Version = tuple[int, int, int, int]


class ReloadingContext(ssl.SSLContext):
    """A client context that reloads its file of certificate authorities (PEM) when the file has changed.

    Clients create a context once and keep it for their lifetime. This one checks the file before each handshake, and
    loads it again after a change: authorities that were removed from it are no longer trusted. While the file cannot be
    read, or is incomplete, the previous content stays valid. Existing connections are not affected. With `cafile` "" it
    uses the system's trust store, whose file `SSL_CERT_FILE` replaces. Raises `OSError` (a base class of
    `ssl.SSLError`) when the file cannot be read at first.
    """

    def __new__(cls, *_arguments: Any, **_options: Any) -> "ReloadingContext":
        """Create a client context."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, cafile: str = "", *, check_hostname: bool = True) -> None:
        self._system = not cafile
        self._file = cafile or ssl.get_default_verify_paths().cafile or ""
        self.check_hostname = check_hostname  # libraries may read this attribute
        self._version = self._last_seen = self._read_version()
        self._current = self._load()

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Wrap a connection of an event loop, with the file's current content."""
        return self._up_to_date().wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap a socket, with the file's current content."""
        return self._up_to_date().wrap_socket(*arguments, **options)

    def _up_to_date(self) -> ssl.SSLContext:
        # Read the version before the content: a change in between is then noticed the next time.
        version = self._read_version()
        if version == self._version:
            return self._current
        try:
            fresh = self._load()
            fresh.load_verify_locations(self._file)  # `_load` does not raise for the system's file
        except OSError as error:
            if version != self._last_seen and structlog.is_configured():
                structlog.get_logger().warning(events.CA_FILE_UNREADABLE, file=self._file, error=str(error))
        else:
            self._current, self._version = fresh, version
            if structlog.is_configured():
                structlog.get_logger().info(events.CA_FILE_REPLACED, file=self._file)
        self._last_seen = version
        return self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=None if self._system else self._file)
        context.check_hostname = self.check_hostname
        return context

    def _read_version(self) -> _Version | None:
        """Return values that change with the file's content; None if there is no file."""
        try:
            status = os.stat(self._file)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def certificate_refusal(error: BaseException | None) -> str | None:
    """Return why a server's certificate was not accepted, or None for any other error."""
    tls_error = find_tls_error(error)
    return tls_error.verify_message if isinstance(tls_error, ssl.SSLCertVerificationError) else None


async def speaks_tls(host: str, port: int) -> bool:
    """Return whether a TLS server listens there, with any certificate. Takes at most `PROBE_TIMEOUT_S`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return False
    writer.close()
    return True
