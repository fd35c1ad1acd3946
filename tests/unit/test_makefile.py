"""`make help` is the list of targets, and the README tells of them."""

import re
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


def test_the_readme_tells_of_every_target() -> None:
    """The table of the README names all but those for contributors."""
    table = (ROOT / "README.md").read_text().partition("| `make …` |")[2].partition("\n\n")[0]
    assert (
        set(re.findall(r"`([a-z-]+)`", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE)))
        == TARGETS - FOR_CONTRIBUTORS
    )
