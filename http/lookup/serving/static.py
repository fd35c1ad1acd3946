"""The files of the pages, read once at start. Only these files are served: no request reads the file system."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
INDEX = "index.html"
CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class PageMissing(Exception):
    """The folder of the pages has no index."""


@attrs.frozen
class PageFile:
    """A file as it is served: its route, its bytes, and its headers."""

    route: str
    content: bytes = attrs.field(repr=False)
    content_type: str
    etag: str

    def answer(self, request: web.Request) -> web.Response:
        """Return the file, or 304 when the browser already has it."""
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}
        known = request.if_none_match or ()
        if any(tag.value in (self.etag, "*") for tag in known):
            answer = web.Response(status=304, headers=headers)
        else:
            answer = web.Response(body=self.content, content_type=self.content_type, charset="utf-8", headers=headers)
        answer.etag = self.etag
        return answer


def read_page(directory: Path) -> list[PageFile]:
    """Read all files of the pages below `directory`. Raises `PageMissing` when there is no index."""
    files = [_read(directory, path) for path in _page_paths(directory)]
    if not any(file.route == "/" for file in files):
        raise PageMissing(f"{directory} holds no {INDEX}")
    return files


def _page_paths(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.suffix in CONTENT_TYPES and path.is_file() and not path.is_symlink():
            yield path


def _read(directory: Path, path: Path) -> PageFile:
    content = path.read_bytes()
    return PageFile(
        route=_route(path.relative_to(directory)),
        content=content,
        content_type=CONTENT_TYPES[path.suffix],
        etag=blake2b(content, digest_size=16).hexdigest(),
    )


def _route(path: Path) -> str:
    """Return `/` for the index, `/name` for another page, and `/ui/path` for the files that pages load."""
    if path.name == INDEX:
        return "/"
    return f"/{path.stem}" if path.suffix == ".html" else f"/ui/{path.as_posix()}"


def add_page_routes(application: web.Application, files: list[PageFile]) -> None:
    """Add one fixed route per file."""
    for file in files:
        application.router.add_get(file.route, _handler(file))


def _handler(file: PageFile) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return file.answer(request)

    return answer
