"""Finds the TLS error that made a connection fail."""

import ssl


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error among the causes of `error`, or None if there is none.

    Client libraries wrap it in their own errors, so all causes and contexts are searched.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
