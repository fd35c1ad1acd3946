"""The sizes of images, and the memory of running containers."""

from collections.abc import Iterable

from tools.containers.system import System

_MEGABYTE = 1_000_000


async def sizes(system: System, images: Iterable[str]) -> list[str]:
    """Return a line for each of `images` and of the project's images, and one for each running container."""
    lines = []
    for name in (f"{system.project}-runtime", f"{system.project}-tests", *images):
        ended = await system.run.ended("docker", "image", "inspect", "--format", "{{.Size}}", name)
        if ended.code == 0:
            lines.append(f"{int(ended.output) / _MEGABYTE:>10,.0f} MB  image {name}")
    used = await system.run("docker", "stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}")
    for line in sorted(used.splitlines()):
        name, memory = line.split("\t")
        if name.startswith(system.project):
            lines.append(f"{memory.partition(' /')[0]:>13}  memory of {name}")
    return lines
