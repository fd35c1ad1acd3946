"""Which values of settings an error may repeat: none that may hold a login or a token."""

import re

_HARMLESS = re.compile(r"(?:[\w.,+%*/ -]|(?<!/)\[[0-9a-f:]*\]|:(?=[0-9]{0,5}(?:,|$)))*")
"""Matches values that an error may repeat: no URL, and a colon only before a port, so that they hold no login."""
_PLAIN = re.compile(r"(?:[^\x00-\x1f\x7f=@?&:]|:(?=[0-9]{0,5}(?:,|$)))*")
"""The same for what is no address: any printable text without the marks of a login."""
_ADDRESSES = frozenset({"HTTP_ADDR", "KAFKA_BROKERS", "POSTGRES_HOST", "REDIS_ADDR"})
_URL_PATH = re.compile(r"^//|^[^/]+/")
"""Found in a URL without its scheme, which stands where an address belongs. A socket's folder begins with one slash."""


def is_harmless(name: str, text: str) -> bool:
    """Return whether an error may repeat the value of a setting that is no secret."""
    if name in _ADDRESSES:
        return bool(_HARMLESS.fullmatch(text)) and not _URL_PATH.search(text)
    return bool(_PLAIN.fullmatch(text))
