"""The checks before a commit, as `make hooks` installs them."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.git import Git, new_repository

ROOT = Path(__file__).parents[2]
CONFIG = ".pre-commit-config.yaml"
PRE_COMMIT = str(Path(sys.executable).with_name("pre-commit"))


def _use_tools_of_this_environment(git: Git) -> None:
    (git.folder / ".venv").mkdir()
    (git.folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Provide a repository with our hooks installed, whose `make lint` always fails."""
    git = new_repository(tmp_path / "repository")
    _use_tools_of_this_environment(git)
    shutil.copy(ROOT / CONFIG, git.folder)
    (git.folder / "Makefile").write_text("lint:\n\t@echo the style is wrong; exit 1\n")
    git.must("git", "add", CONFIG)
    git.must("git", "commit", "--quiet", "--message", "the hooks")
    git.must(PRE_COMMIT, "install")
    return git


def test_a_clean_change_is_committed(git: Git) -> None:
    """Text alone does not wait for the checks of code."""
    ended = git.commit(notes_md="Clean.\n")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("notes_md", "A space \n", "no spaces at the end of a line"),
        ("notes_md", "No newline", "one newline at the end of a file"),
        ("notes_md", "." * 2_200_000 + "\n", "no new file over 2 MB"),
        ("code_py", "a=1\n", "the style is wrong"),
    ],
)
def test_a_change_that_fails_a_check_is_not_committed(git: Git, name: str, text: str, told: str) -> None:
    """The commit is refused, and what failed is named."""
    before = git.must("git", "rev-parse", "HEAD")
    ended = git.commit(**{name: text})
    assert ended.returncode != 0
    assert told in ended.stdout + ended.stderr
    assert git.must("git", "rev-parse", "HEAD") == before


def test_this_repository_passes_its_own_hooks(tmp_path: Path) -> None:
    """All files that are committed, in a copy, since some hooks mend what they find. `make lint` runs by itself."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    git = new_repository(tmp_path / "copy")
    git.must("git", "fetch", "--quiet", "--depth", "1", ROOT.as_uri(), "HEAD")
    git.must("git", "checkout", "--quiet", "FETCH_HEAD")
    _use_tools_of_this_environment(git)
    ended = git.run(PRE_COMMIT, "run", "--all-files", "--show-diff-on-failure", SKIP="lint")
    assert ended.returncode == 0, ended.stdout + ended.stderr
