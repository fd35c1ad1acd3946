"""What a connection failed over when its encryption failed."""

import ssl


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return what the handshake said, or None if the error is another one.

    Clients wrap it in errors of their own: all that the error came from counts.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
