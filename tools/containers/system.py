"""The system of the compose file on an engine, under a project name, ports, images and volumes of its own."""

import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from orderflow.exits import Failed
from orderflow.progress import say
from orderflow.services.ports import LOOPBACK, free_ports
from orderflow.start.project import project_root
from orderflow.start.settings import Settings, parse_settings, variables
from tools.containers.commands import Commands
from tools.containers.engine import Engine
from tools.containers.images import Images

OURS = ("migrate", "topics", "engine", "http", "publisher")
STORES = ("postgres", "redis", "kafka")
_PORTS = ("HTTP_HOST_PORT", "POSTGRES_HOST_PORT", "KAFKA_HOST_PORT", "REDIS_HOST_PORT")
_PROFILES = ("--profile", "tests", "--profile", "obs")
_DOWN_TIMEOUT_S = 180
Inspected = dict[str, Any]
"""A container, as `docker inspect` shows it."""


def project_name() -> str:
    """Return a name that no other checkout uses on the same engine."""
    return f"orderflow-check-{hashlib.sha256(str(project_root()).encode()).hexdigest()[:8]}"


def user_environment() -> dict[str, str]:
    """Return the environment without what would change the meaning of the compose file."""
    ours = variables()
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("COMPOSE_", "MAKE", "MFLAGS")) and not name.endswith("_HOST_PORT")
    }


def override(project: str, images: Images, *, build_on_host_network: bool) -> dict[str, Any]:
    """Return what is changed in the compose file: names of images, and how they are built."""
    build: dict[str, Any] = {"args": images.arguments}
    if build_on_host_network:
        build["network"] = "host"
    services: dict[str, Any] = {name: {"image": image} for name, image in images.services.items()}
    services |= {name: {"image": f"{project}-runtime", "build": build} for name in OURS}
    services["tests"] = {"image": f"{project}-tests", "build": build}
    return {"services": services}


@attrs.frozen
class System:
    """The containers of one project. `run` runs `docker` and `make` for this project."""

    project: str
    run: Commands
    ports: dict[str, int]

    @property
    def url(self) -> str:
        """The HTTP server's address on this machine."""
        return f"http://{LOOPBACK}:{self.ports['HTTP_HOST_PORT']}"

    @property
    def client_environment(self) -> dict[str, str]:
        """The variables with which a program on this machine reaches the stores."""
        return {
            "POSTGRES_HOST": LOOPBACK,
            "POSTGRES_PORT": str(self.ports["POSTGRES_HOST_PORT"]),
            "KAFKA_BROKERS": f"{LOOPBACK}:{self.ports['KAFKA_HOST_PORT']}",
            "REDIS_ADDR": f"{LOOPBACK}:{self.ports['REDIS_HOST_PORT']}",
        }

    @property
    def settings(self) -> Settings:
        """The settings of such a program."""
        return parse_settings(self.client_environment)

    async def compose(self, *words: str, timeout_s: float = 120) -> str:
        """Run `docker compose`, and return its output. Raises `Failed`."""
        return await self.run("docker", "compose", *words, timeout_s=timeout_s)

    async def inspect(self, *services: str) -> list[Inspected]:
        """Return the containers of these services, or of all, in the order in which they were created."""
        ids = (await self.compose(*_PROFILES, "ps", "--all", "--quiet", *services)).split()
        if not ids:
            raise Failed(f"there is no container of {', '.join(services) or self.project}")
        found: list[Inspected] = json.loads(await self.run("docker", "container", "inspect", *ids))
        return sorted(found, key=lambda container: str(container["Created"]))

    async def remove(self) -> None:
        """Remove the project's containers, networks and volumes. Raises `Failed`."""
        await self.compose(
            *_PROFILES, "down", "--volumes", "--remove-orphans", "--timeout", "20", timeout_s=_DOWN_TIMEOUT_S
        )


def service_of(container: Inspected) -> str:
    """Return the name of the container's service."""
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


@asynccontextmanager
async def system(run: Commands, engine: Engine, images: Images, cache: Path) -> AsyncIterator[System]:
    """Provide the project without any container of an earlier run; at the end remove all that it has."""
    project = project_name()
    changes = cache / "override.json"
    changes.write_text(json.dumps(override(project, images, build_on_host_network=engine.own), indent=2))
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    own = {
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_FILE": f"{project_root() / 'docker-compose.yml'}{os.pathsep}{changes}",
        "COMPOSE_ENV_FILES": os.devnull,  # the user's .env must not change what is checked
        **{name: str(port) for name, port in ports.items()},
    }
    found = System(project, run.with_variables(own), ports)
    await found.remove()
    try:
        yield found
    finally:
        say("Removing the containers, networks and volumes")
        await found.remove()


@asynccontextmanager
async def images_removed(run: Commands, engine: Engine) -> AsyncIterator[None]:
    """At the end remove the project's images from an engine that others use too; those that were pulled stay.

    An engine of our own keeps them for the next run, but for those that have lost their name to a newer one.
    """
    try:
        yield
    finally:
        if engine.own:
            await run("docker", "image", "prune", "--force")
        else:
            await _remove_images(run, project_name())


async def _remove_images(run: Commands, project: str) -> None:
    names = (await run("docker", "image", "ls", "--format", "{{.Repository}}")).split()
    # Services that are built alike make an image each, and all but the last of them have no name.
    label = f"label=com.docker.compose.project={project}"
    built = (await run("docker", "image", "ls", "--quiet", "--filter", label)).split()
    ours = {name for name in names if name.startswith(f"{project}-")}.union(built)
    if ours:
        await run("docker", "image", "rm", "--force", *ours)
