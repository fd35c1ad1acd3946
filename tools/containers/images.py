"""The images that ours are built on and run beside: the real ones where they can be had, else stand-ins."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from orderflow.progress import say
from orderflow.start.project import project_root
from tools.containers.commands import Commands
from tools.containers.standin_images import build_standin
from tools.containers.standin_root import build_root

_PULL_TIMEOUT_S = 600
_SERVICES = {"postgres": "postgres", "redis": "valkey", "kafka": "kafka"}
"""The stores of the compose file, and their stand-ins."""


@attrs.frozen
class Images:
    """Which images are used. `real` were there or were pulled; `arguments` and `services` name the stand-ins.

    `arguments` are build arguments of the Dockerfile, `services` images of services of the compose file.
    """

    real: list[str]
    arguments: dict[str, str]
    services: dict[str, str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.real, *self._standins]

    @property
    def _standins(self) -> list[str]:
        return [*self.arguments.values(), *self.services.values()]

    def __str__(self) -> str:
        """Return which are real."""
        kinds = [name.rpartition("-")[2] for name in self._standins]
        return f"real: {', '.join(self.real) or 'none'}; stand-ins: {', '.join(kinds) or 'none'}"


def build_arguments(dockerfile: str) -> dict[str, str]:
    """Return the arguments that name the Dockerfile's base images, with their values."""
    return dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", dockerfile, re.MULTILINE))


def store_images(compose_file: Mapping[str, Any]) -> dict[str, str]:
    """Return the image of each store of the compose file, by the name of its service."""
    return {service: compose_file["services"][service]["image"] for service in _SERVICES}


async def find_images(run: Commands, project: str, cache: Path) -> Images:
    """Take each image that can be had, and build a stand-in for each other. Raises `OrderflowError`."""
    root = project_root()
    bases = build_arguments((root / "Dockerfile").read_text())
    stores = store_images(yaml.safe_load((root / "docker-compose.yml").read_text()))
    names = [*bases.values(), *stores.values()]
    found = dict(zip(names, await asyncio.gather(*(_is_there(run, name) for name in names)), strict=True))
    missing = [name for name in names if not found[name]]
    images = Images([name for name in names if found[name]], {}, {})
    if not missing:
        return images
    say(f"These images cannot be pulled here, so stand-ins are built: {', '.join(missing)}")
    base = await build_root(run, f"{project}-standin-python", cache)
    for argument, name in bases.items():
        if not found[name]:
            kind = argument.removesuffix("_IMAGE").lower()
            images.arguments[argument] = base if kind == "python" else await build_standin(run, kind, base, cache)
    for service, name in stores.items():
        if not found[name]:
            images.services[service] = await build_standin(run, _SERVICES[service], base, cache)
    return images


async def _is_there(run: Commands, image: str) -> bool:
    if (await run.ended("docker", "image", "inspect", image)).code == 0:
        return True
    return (await run.ended("docker", "pull", "--quiet", image, timeout_s=_PULL_TIMEOUT_S)).code == 0
