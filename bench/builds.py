"""A build of orderflow as a run drives it: through its command line alone, so that any other revision can be one."""

import sys
from pathlib import Path

import attrs

from orderflow.start.project import project_root


@attrs.frozen
class Build:
    """A build that is set up: `root` is its checkout, `python` the interpreter of its environment.

    `database` is a database, to be copied, that this build has migrated; empty until there are services.
    """

    name: str
    root: Path
    python: Path
    database: str = ""

    def orderflow(self, *arguments: str) -> list[str]:
        """Return the command line of this build's `orderflow` with these arguments."""
        return [str(self.python), "-m", "orderflow", *arguments]


def this_build() -> Build:
    """Return the build that this process belongs to."""
    return Build("this", project_root(), Path(sys.executable))
