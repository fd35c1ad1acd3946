"""Refusals that are raised where they are noticed and answered in one place."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from lookup.answers import json_answer
from lookup.query_parameters import WrongParameter


class Refused(Exception):
    """A request is refused: a word of the contract, the status, and what more the answer tells."""

    def __init__(self, code: str, status: int, *, headers: Mapping[str, str] | None = None, **told: Any) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.headers = headers
        self.told = told


def answering_refusals(handler: Handler) -> Handler:
    """Return the handler with its `Refused` and `WrongParameter` turned into answers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except WrongParameter as wrong:
            refusal = {"error": "invalid_parameter", "parameter": wrong.parameter, "allowed": wrong.allowed}
            return json_answer(refusal, 400)
        except Refused as refused:
            return json_answer({"error": refused.code, **refused.told}, refused.status, refused.headers)

    return answer
