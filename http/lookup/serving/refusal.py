"""The exception that refuses a request; `lookup.serving.middleware` turns it into an answer."""

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A request is refused: the public error code, the status, and further fields of the answer."""

    def __init__(self, code: str, status: int, *, headers: Mapping[str, str] | None = None, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.headers = headers
        self.details = details
