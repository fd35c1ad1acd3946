"""`make help` is the list of targets, and docs/commands.md tells of them."""

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
FOR_CONTRIBUTORS = {"hooks", "lint", "lock", "recording", "release", "screenshots", "wheel"}
"""Told of in CONTRIBUTING.md, or part of another target."""


def test_help_lists_every_target_in_one_line() -> None:
    """It is the default target; what the targets do stands in one column."""
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [re.fullmatch(r"(  make (\S+) +)\S.*", line) for line in listed]
    assert {match[2] for match in found if match} == TARGETS
    assert len(listed) == len(TARGETS)
    assert len({len(match[1]) for match in found if match}) == 1


def test_the_documentation_tells_of_every_target() -> None:
    """The table of docs/commands.md names all but those for contributors."""
    table = (ROOT / "docs" / "commands.md").read_text().partition("| `make …` |")[2].partition("\n\n")[0]
    assert (
        set(re.findall(r"`([a-z-]+)`", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE)))
        == TARGETS - FOR_CONTRIBUTORS
    )


def _would_do(folder: Path) -> str:
    """Return what `make setup` would do in `folder`."""
    return subprocess.run(["make", "-n", "setup"], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    """Its programs name the folder that it was made in; one that is shared by a link is left alone."""
    before, after = tmp_path / "made here", tmp_path / "renamed"
    (before / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, before)
    for name in (".locked", ".complete"):
        (before / ".venv" / name).touch()
    (before / ".venv" / "pyvenv.cfg").write_text(f"command = python3 -m venv --clear {before}/.venv\n")
    assert "pip install" not in _would_do(before)
    before.rename(after)
    assert "was made in another folder" in _would_do(after)
    assert "-m venv --clear" in _would_do(after)
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(after / name, linked)
    (linked / ".venv").symlink_to(after / ".venv")
    assert "was made in another folder" not in _would_do(linked)
