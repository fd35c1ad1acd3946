"""Who may do more than read: whoever presents the admin token."""

from hashlib import sha256
from hmac import compare_digest

from aiohttp import web

from lookup.serving.refusal import Refused

_SCHEME = "bearer"
_ALLOWED = "the header Authorization: Bearer, with the token that ADMIN_TOKEN sets"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="orderflow"'}


class Admin:
    """Knows the token, and tells nobody. An empty one is no token: then nobody may."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token) if token else None

    @property
    def read_only(self) -> bool:
        """Whether nobody may do more than read."""
        return self._digest is None

    def check(self, request: web.BaseRequest) -> None:
        """Return if the request may do more than read. Raises `Refused`: 403 when nobody may, else 401."""
        if self._digest is None:
            raise Refused("read_only", 403, allowed="only to read, until ADMIN_TOKEN is set")
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _SCHEME or not compare_digest(_digest(presented.strip()), self._digest):
            raise Refused("unauthorized", 401, headers=_CHALLENGE, allowed=_ALLOWED)


def _digest(token: str) -> bytes:
    # Digests are of one length, so that comparing them takes the same time whatever is presented.
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
