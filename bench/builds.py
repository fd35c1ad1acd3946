"""A build of orderflow. A run uses only its command line, so any revision can be measured."""

import sys
from pathlib import Path

import attrs

from orderflow.start.project import project_root


@attrs.frozen
class Build:
    """A build that is ready to run: `root` is its checkout, `python` the interpreter of its environment.

    `database` is a template database that this build has migrated. It is empty until the services are running.
    """

    name: str
    root: Path
    python: Path
    database: str = ""

    def orderflow(self, *arguments: str) -> list[str]:
        """Return the command line of this build's `orderflow` with these arguments."""
        return [str(self.python), "-m", "orderflow", *arguments]


def this_build() -> Build:
    """Return the build of this process."""
    return Build("this", project_root(), Path(sys.executable))
