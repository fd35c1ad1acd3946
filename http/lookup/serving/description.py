"""The OpenAPI description of all routes: `openapi.json`, with the version and the pages' files added."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from aiohttp import web
from msgspec import json

from lookup.serving.static import PageFile

PATH = "/openapi.json"


def describe_routes(page_files: Sequence[PageFile]) -> dict[str, Any]:
    """Return the OpenAPI document, with the installed version and the files of the pages."""
    description: dict[str, Any] = json.decode(files("lookup").joinpath("openapi.json").read_bytes())
    description["info"]["version"] = version("orderflow")
    description["paths"] |= {file.route: {"get": _describe(file)} for file in page_files}
    return description


def _describe(file: PageFile) -> dict[str, Any]:
    return {
        "tags": ["pages"],
        "summary": f"The page {file.route}" if file.content_type == "text/html" else "A file of the pages",
        "responses": {
            "200": {"description": "The file.", "content": {file.content_type: {"schema": {"type": "string"}}}},
            "304": {"description": "The browser's copy is current."},
            "503": {"$ref": "#/components/responses/Unavailable"},
        },
    }


def add_description(application: web.Application, page_files: Sequence[PageFile]) -> None:
    """Add the route of the description."""
    description = json.format(json.encode(describe_routes(page_files)), indent=2)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json", headers={"Cache-Control": "no-cache"})

    application.router.add_get(PATH, answer)
