"""Programs of the machine that only some tests need."""

import os
import shutil
from pathlib import Path

import pytest


def require_program(name: str, title: str, package: str | None = None) -> Path:
    """Return the path of a program, which Debian may install where only root looks. Skips the test without it.

    `package` is the name of Debian's package, if the program has another one.
    """
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if found is None:
        pytest.skip(f"left out: this needs {title} (apt-get install {package or name})")
    return Path(found)
