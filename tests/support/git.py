"""Runs git for tests: with separate settings, in separate folders."""

import os
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

_SETTINGS = (
    "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n"
)


@attrs.frozen
class Git:
    """A repository. Commands in it do not see the user's settings, or those of a git hook that runs these tests."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the folder until it ends."""
        return subprocess.run(
            command, cwd=self.folder, env={**self.environment, **extra}, capture_output=True, text=True, check=False
        )

    def must(self, *command: str) -> str:
        """Run a command that must succeed, and return its output."""
        ended = self.run(*command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.strip()

    def commit(self, **files: str) -> "subprocess.CompletedProcess[str]":
        """Write files (in their names `_` stands for `.`), stage them and try to commit."""
        for name, text in files.items():
            path = self.folder / name.replace("_", ".")
            path.write_text(text)
            self.must("git", "add", "--", path.name)
        return self.run("git", "commit", "--quiet", "--message", "a change")


def new_repository(folder: Path) -> Git:
    """Create an empty repository in `folder`. Skips the test if git is not installed."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder.mkdir()
    settings = folder.parent / "gitconfig"
    settings.write_text(_SETTINGS)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = {
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_CONFIG_NOSYSTEM": "1",
        "PRE_COMMIT_HOME": str(folder.parent / "home"),
    }
    git = Git(folder, {**kept, **own})
    git.must("git", "init", "--quiet")
    return git
