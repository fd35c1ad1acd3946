"""What a connection that failed over its encryption means: whom to ask, and which setting mends it."""

import asyncio
import ssl

PROBE_TIMEOUT_S = 2.0
_NO_TLS = {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def certificate_refusal(error: BaseException) -> str | None:
    """Return why a server's certificate was not accepted, or None if the error is another one."""
    found = _ssl_error(error)
    return found.verify_message if isinstance(found, ssl.SSLCertVerificationError) else None


def is_answered_in_plain(error: BaseException) -> bool:
    """Whether a TLS handshake was answered by something that does not speak TLS."""
    found = _ssl_error(error)
    return found is not None and found.reason in _NO_TLS


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error that `error` is or came from: clients wrap it in errors of their own."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


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
