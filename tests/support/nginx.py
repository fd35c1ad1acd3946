"""An nginx of a test's own, with the configurations of docs/proxy.md."""

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orderflow.services import free_ports
from orderflow.services.ports import has_listener
from orderflow.services.service import Service
from tests.support.installed import require_program

DOCUMENTED = re.findall(
    r"```nginx\n(.*?)```", (Path(__file__).parents[2] / "docs" / "proxy.md").read_text(encoding="utf-8"), re.DOTALL
)
COMPRESSING = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"
"""Every answer to a client that accepts it."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Service):
    """One nginx. Only addresses, folders and `more` differ from the documented configuration and the defaults."""

    title = "nginx"
    variable = "HTTP_ADDR"
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, port: int, program: Path, site: str, more: str) -> None:
        super().__init__(directory, port)
        self._program = program
        self._http = f"{more}\n{site}"

    async def prepare(self) -> None:
        """Write the configuration."""
        folders = "\n".join(f"{name}_temp_path {self.directory / name};" for name in _TEMPORARY)
        (self.directory / "nginx.conf").write_text(f"""\
daemon off;
master_process off;
pid {self.directory / "nginx.pid"};
error_log stderr;
events {{}}
http {{
access_log off;
{folders}
{self._http}
}}
""")

    def command(self) -> list[str]:
        """Return the command line."""
        folder = str(self.directory)
        return [str(self._program), "-e", "stderr", "-p", folder, "-c", str(self.directory / "nginx.conf")]

    async def answers(self) -> bool:
        """Return whether it accepts connections."""
        return has_listener(self.port)


@asynccontextmanager
async def own_nginx(directory: Path, server_port: int, site: str, more: str = "") -> AsyncIterator[str]:
    """Run nginx in front of the server on `server_port`, and provide its URL without a path.

    `site` is a configuration of docs/proxy.md; its addresses are replaced. `more` goes before it.
    """
    program, port = require_program("nginx", "nginx"), free_ports(1)[0]
    for documented, own in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8080", f"127.0.0.1:{server_port}"),
    ):
        assert site.count(documented) == 1
        site = site.replace(documented, own)
    service = Nginx(directory / "nginx", port, program, site, more)
    try:
        await service.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await service.stop()
