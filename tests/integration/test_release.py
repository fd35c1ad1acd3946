"""`make release` refuses what does not belong together."""

import sys
from pathlib import Path

import pytest

from tests.support.git import Git, new_repository

ROOT = Path(__file__).parents[2]
PYPROJECT = '[project]\nversion = "1.2.0"\n'
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n- Something.\n\n## [1.1.0]\n"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Provide a repository that may be released."""
    git = new_repository(tmp_path / "repository")
    assert git.commit(pyproject_toml=PYPROJECT, CHANGELOG_md=CHANGELOG).returncode == 0
    return git


def _release(git: Git) -> tuple[int, str, str]:
    ended = git.run(sys.executable, "-m", "tools.release", PYTHONPATH=str(ROOT))
    return ended.returncode, ended.stdout, ended.stderr


def test_what_belongs_together_may_be_released(git: Git) -> None:
    """It says which commit it is, and how to tag it; it may be repeated once the tag is there."""
    for _ in range(2):
        code, out, err = _release(git)
        assert (code, err) == (0, "")
        assert git.must("git", "rev-parse", "HEAD") in out
        assert "git tag -a v1.2.0" in out
        git.must("git", "tag", "-f", "-a", "v1.2.0", "-m", "orderflow 1.2.0")


@pytest.mark.parametrize(
    ("changelog", "told"),
    [
        (CHANGELOG.replace("1.2.0", "1.3.0"), "has no section [1.2.0]"),
        (CHANGELOG.replace(" - 2026-12-01", ""), "must say '## [1.2.0] - YYYY-MM-DD'"),
        (CHANGELOG.replace("- Something.", ""), "tells of no change in [1.2.0]"),
        (CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n\n- Forgotten.\n"), "still has changes in [Unreleased]"),
    ],
)
def test_a_changelog_that_does_not_tell_of_it_is_refused(git: Git, changelog: str, told: str) -> None:
    """One line says what is to be done."""
    assert git.commit(CHANGELOG_md=changelog).returncode == 0
    code, out, err = _release(git)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert told in line


def test_a_commit_that_is_not_this_version_is_refused(git: Git) -> None:
    """Files that no commit holds, and a version that was released from another commit."""
    git.must("git", "tag", "-a", "v1.2.0", "-m", "orderflow 1.2.0")
    assert git.commit(more_md="More.\n").returncode == 0
    (git.folder / "stray.py").touch()
    code, out, err = _release(git)
    assert (code, out) == (1, "")
    strays, tagged = err.splitlines()
    assert "not committed" in strays
    assert "v1.2.0 is another commit's" in tagged
