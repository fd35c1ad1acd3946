"""Canaries: personal data and secrets that are easily recognised, and whoever listens for them where none may sing."""

from collections.abc import Iterable, Mapping
from json import dumps
from typing import Any
from urllib.parse import quote

import attrs
from msgspec import json

from orderflow.publishing.orders import OrderGenerator

RECIPIENT = {
    "name": "Kanarie Vogel-Жёлтая",
    "phone": "+79005550142",
    "zip": "925925",
    "city": "Canaryville-on-Sea",
    "address": "Birdcage Walk 25, nest 7",
    "region": "Harz Roller Highlands",
    "email": "k.vogel@canary-islands.example",
}
"""The recipient of every order."""
SECRETS = {
    "POSTGRES_PASSWORD": "canary pg/p@ss'word-1",
    "REDIS_PASSWORD": "canary-redis-password-2",
    "ADMIN_TOKEN": "canary-admin-token-3",
    "KAFKA_SASL_PASSWORD": "canary-sasl-password-4",
}
WRONG_PASSWORD = "canary wrong/p@ss'word-5"


def canary_order(generator: OrderGenerator, **changes: object) -> bytes:
    """Return the message of a new order for the recipient, with some of its fields changed."""
    return json.encode({**generator.order(), "delivery": RECIPIENT, **changes})


def _forms(canary: str) -> set[str]:
    """Return the canary as it may look in a log, a URL or JSON."""
    return {canary, quote(canary), quote(canary, safe=""), dumps(canary)[1:-1]}


@attrs.define
class Listener:
    """Listens for canaries. `heard` says where one sang; `listened_to` counts characters."""

    heard: set[str] = attrs.field(factory=set)
    listened_to: int = 0
    _forms: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        canaries = [*RECIPIENT.values(), *SECRETS.values(), WRONG_PASSWORD]
        self._forms = {form.lower(): canary for canary in canaries for form in _forms(canary)}

    def listen(self, where: str, *texts: object) -> None:
        """Search texts (bytes are read as UTF-8) and note the canaries in them."""
        for text in texts:
            told = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
            self.listened_to += len(told)
            self.heard |= {f"{where}: {canary}" for canary in self.sing_in(told)}

    def sing_in(self, text: str) -> set[str]:
        """Return the canaries in a text."""
        lower = text.lower()
        return {canary for form, canary in self._forms.items() if form in lower}

    def listen_to_rows(self, where: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Search the values of rows, or of headers."""
        for row in rows:
            self.listen(where, *row.values())
