"""The source root `http/` must never hide the standard library's package `http`."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_http_is_the_standard_librarys_from_the_repository_root() -> None:
    """Where the interpreter starts in the repository root, `import http.client` finds the standard library."""
    found = subprocess.run(
        [sys.executable, "-c", "import http.client; print(http.client.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(sysconfig.get_path("stdlib"))


def test_http_is_no_package() -> None:
    """`http/` is a source root: with an `__init__.py` it would hide the standard library's."""
    assert not (ROOT / "http" / "__init__.py").exists()
