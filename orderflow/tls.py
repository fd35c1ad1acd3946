"""What a connection that failed over its encryption means."""

import asyncio
import ssl

PROBE_TIMEOUT_S = 2.0


def certificate_refusal(error: BaseException | None) -> str | None:
    """Return why a server's certificate was not accepted, or None if the error is another one.

    Clients wrap what the handshake says in errors of their own: all that the error came from counts.
    """
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


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
