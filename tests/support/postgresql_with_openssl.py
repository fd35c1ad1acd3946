"""PostgreSQL programs that are built with OpenSSL: those of the embedded service are built without it."""

import asyncio
import os
import platform
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from orderflow.services.service import run_tool
from orderflow.start.project import cache_directory

VERSION = "18.1.0"
_PACKAGES = {"x86_64": "linux-amd64", "aarch64": "linux-arm64v8"}
_RESOLVE = "import jgo, sys; print(*jgo.build(sys.argv[1]).all_jars, sep='\\n')"
_DOWNLOAD_TIMEOUT_S = 150


def package() -> str | None:
    """Return the name of the package for this machine, or None if there is none."""
    name = _PACKAGES.get(platform.machine()) if sys.platform == "linux" else None
    return name and f"io.zonky.test.postgres:embedded-postgres-binaries-{name}"


async def programs(version: str = VERSION) -> Path:
    """Return the folder with `postgres` and `initdb`. Downloads them (15 MB) if necessary."""
    folder = cache_directory() / f"postgresql-with-openssl-{version}"
    if not folder.exists():
        jar = await run_tool(
            "the download of PostgreSQL with OpenSSL",
            [sys.executable, "-c", _RESOLVE, f"{package()}:{version}"],
            environment=os.environ,
            timeout_s=_DOWNLOAD_TIMEOUT_S,
        )
        await asyncio.to_thread(_unpack, Path(jar.splitlines()[0]), folder)
    return folder / "bin"


def _unpack(jar: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        with zipfile.ZipFile(jar) as outer:
            [inner] = [name for name in outer.namelist() if name.endswith(".txz")]
            with outer.open(inner) as compressed, tarfile.open(fileobj=compressed, mode="r:xz") as archive:
                archive.extractall(Path(unfinished, "all"), filter="data")
        if not folder.exists():
            Path(unfinished, "all").rename(folder)
