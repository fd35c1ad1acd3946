"""A copy of the project to record in: the demo starts without data there, and a user's own data stays untouched."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orderflow.start.project import cache_directory, project_root
from orderflow.start.settings import variables
from tests.support.programs import RUN_MARK

_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEFILES"}


@contextmanager
def copy_of_the_project() -> Iterator[Path]:
    """Provide a folder `orderflow` with the project, and remove it. Packages and downloads are the project's own."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        Path(folder).chmod(0o755)  # as root, PostgreSQL runs as a user who must get there
        copy = Path(folder) / "orderflow"
        shutil.copytree(project_root(), copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        (copy / ".venv").symlink_to(project_root() / ".venv")
        cache_directory().mkdir(parents=True, exist_ok=True)
        (copy / ".services").mkdir()
        (copy / ".services" / "cache").symlink_to(cache_directory())
        _check_that_nothing_is_to_be_installed(copy)
        yield copy


def _check_that_nothing_is_to_be_installed(copy: Path) -> None:
    """Exit unless `make setup` has been run: in the copy it would empty the project's own `.venv`."""
    if subprocess.run(["make", "--question", ".venv/.complete"], cwd=copy, check=False).returncode:
        sys.exit("the packages in .venv are not those of requirements.lock: run 'make recording', which sees to it")


def environment(mark: str) -> Mapping[str, str]:
    """Return the environment of a newcomer, without settings and without the `make` around this program."""
    left_out = {*variables(), *_OF_MAKE, "VIRTUAL_ENV", "PYTHONPATH"}
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, RUN_MARK: mark}
