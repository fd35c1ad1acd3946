"""Refusals that are raised where they are noticed; `lookup.serving.middleware` answers them."""

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A request is refused: a word of the contract, the status, and what more the answer tells."""

    def __init__(self, code: str, status: int, *, headers: Mapping[str, str] | None = None, **told: Any) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.headers = headers
        self.told = told
