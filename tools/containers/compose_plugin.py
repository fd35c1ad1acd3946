"""Finds the compose plugin of the Docker client, or takes it from the Debian release after this machine's."""

import re
from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.progress import say
from tools.containers.commands import Commands
from tools.containers.debian import NEXT_RELEASE, Debian, this_debian

_OLDEST = (2, 24)
"""The first version that reads COMPOSE_ENV_FILES."""
_PLUGIN = "./usr/libexec/docker/cli-plugins/docker-compose"


async def compose_environment(run: Commands, cache: Path) -> dict[str, str]:
    """Return the variables with which `docker compose` works; none if it works already. Raises `CannotStart`."""
    if await _works(run):
        return {}
    settings = cache / "docker"
    plugin = settings / "cli-plugins" / "docker-compose"
    own = {"DOCKER_CONFIG": str(settings)}
    if not plugin.exists():
        debian = await this_debian(run)
        if debian is None or debian.release not in NEXT_RELEASE:
            oldest = ".".join(map(str, _OLDEST))
            raise CannotStart(f"the Docker client has no compose plugin of version {oldest} or newer: install it")
        release = NEXT_RELEASE[debian.release]
        say(f"Downloading the compose plugin of Debian {release}: {debian.release} has none")
        await _download(run, Debian(debian.mirror, release), plugin)
    if not await _works(run.with_variables(own)):
        raise CannotStart(f"the compose plugin in {plugin} does not run here: install one for the Docker client")
    return own


async def _works(run: Commands) -> bool:
    ended = await run.ended("docker", "compose", "version", "--short")
    found = re.search(r"(\d+)\.(\d+)", ended.output)
    return ended.code == 0 and found is not None and (int(found[1]), int(found[2])) >= _OLDEST


async def _download(run: Commands, debian: Debian, plugin: Path) -> None:
    package = await debian.download(run, "docker-compose", plugin.parents[2] / "apt")
    plugin.parent.mkdir(parents=True, exist_ok=True)
    unfinished = plugin.with_name("unfinished")
    extract = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout --file - "$2" > "$3"'
    await run("bash", "-euo", "pipefail", "-c", extract, "extract", package, _PLUGIN, unfinished)
    unfinished.chmod(0o755)
    unfinished.rename(plugin)
