"""Checks the admin token, which a request needs for everything but reading."""

from hashlib import sha256
from hmac import compare_digest

from aiohttp import web

from lookup.serving.refusal import Refused

_SCHEME = "bearer"
_ALLOWED = "the header Authorization: Bearer, with the token that ADMIN_TOKEN sets"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="orderflow"'}


class Admin:
    """Holds a digest of the admin token. With an empty or blank token every request is read-only.

    Spaces around the token do not count: an HTTP header cannot carry them.
    """

    def __init__(self, token: str) -> None:
        self._digest = _digest(token.strip()) if token.strip() else None

    @property
    def read_only(self) -> bool:
        """Whether no token is set, so that every request may only read."""
        return self._digest is None

    def check(self, request: web.BaseRequest) -> None:
        """Return if the request has the admin token. Raises `Refused`: 403 when no token is set, else 401."""
        if self._digest is None:
            raise Refused("read_only", 403, allowed="only reading, until ADMIN_TOKEN is set")
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _SCHEME or not compare_digest(_digest(presented.strip()), self._digest):
            raise Refused("unauthorized", 401, headers=_CHALLENGE, allowed=_ALLOWED)


ADMIN = web.AppKey("admin", Admin)


def _digest(token: str) -> bytes:
    # Digests have equal lengths, so the comparison takes the same time for every presented token.
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
