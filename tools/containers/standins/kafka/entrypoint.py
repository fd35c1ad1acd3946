"""As in the image that this stands in for: KAFKA_… variables are properties of the broker, CLUSTER_ID its identity."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

_NO_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"}


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the broker's properties: KAFKA_LOG_DIRS is `log.dirs`; two underscores are one, three are a dash."""
    given = {
        name: value for name, value in environment.items() if name.startswith("KAFKA_") and name not in _NO_PROPERTIES
    }
    return {_property(name): value for name, value in given.items()}


def _property(variable: str) -> str:
    name = variable.removeprefix("KAFKA_").lower()
    for written, meant in (("___", "-"), ("__", "\0"), ("_", "."), ("\0", "_")):
        name = name.replace(written, meant)
    return name


def main() -> None:
    """Format the data at the first start, then become the broker."""
    configuration = Path("/tmp/server.properties")
    configuration.write_text("".join(f"{name}={value}\n" for name, value in properties(os.environ).items()))
    options = shlex.split(os.environ.get("KAFKA_HEAP_OPTS", "-Xmx1g -Xms1g"))
    java = ["/opt/java/bin/java", *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "/opt/kafka/libs/*"]
    tool = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", os.environ["CLUSTER_ID"]]
    subprocess.run([*tool, "-c", str(configuration)], check=True)
    os.execv(java[0], [*java, "kafka.Kafka", str(configuration)])


if __name__ == "__main__":
    main()
