"""`python -m tools.release`, in the project's folder: the version, CHANGELOG.md and the commit belong together."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click

_SECTION = re.compile(r"^## \[(.+?)\](.*)$", re.MULTILINE)
_DAY = re.compile(r" - \d{4}-\d{2}-\d{2}")


def _sections(changelog: str) -> dict[str, tuple[str, str]]:
    """Return each section of the changelog by its name: the rest of its heading, and its text."""
    _, *parts = _SECTION.split(changelog)
    return {name: (rest, text) for name, rest, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def changelog_faults(version: str, changelog: str) -> list[str]:
    """Return why the changelog does not tell of this release, a line each."""
    sections = _sections(changelog)
    rest, text = sections.get(version, ("", ""))
    faults = []
    if version not in sections:
        faults.append(f"CHANGELOG.md has no section [{version}], which is the version in pyproject.toml")
    elif not _DAY.fullmatch(rest):
        faults.append(f"CHANGELOG.md must say '## [{version}] - YYYY-MM-DD'")
    elif "\n- " not in text:
        faults.append(f"CHANGELOG.md tells of no change in [{version}]")
    if "\n- " in sections.get("Unreleased", ("", ""))[1]:
        faults.append(f"CHANGELOG.md still has changes in [Unreleased]: move them to [{version}]")
    return faults


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def commit_faults(tag: str) -> list[str]:
    """Return why the commit that is checked out is not the one to release, a line each."""
    faults = []
    if _git("status", "--porcelain"):
        faults.append("there are changes that are not committed: the wheel would hold what the commit does not")
    if _git("tag", "--list", tag) and _git("rev-list", "-1", tag) != _git("rev-parse", "HEAD"):
        faults.append(f"the tag {tag} is another commit's: this version is released already, set a new one")
    return faults


@click.command()
def main() -> None:
    """Exit with 1, and a line for each reason, when the version in pyproject.toml cannot be released as it stands."""
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    tag = f"v{version}"
    try:
        faults = [*changelog_faults(version, Path("CHANGELOG.md").read_text()), *commit_faults(tag)]
    except (OSError, subprocess.CalledProcessError) as error:
        faults = [f"a release needs a clone and its CHANGELOG.md ({error})"]
    for fault in faults:
        click.echo(f"release: {fault}", err=True)
    if faults:
        sys.exit(1)
    click.echo(
        f"orderflow {version} is commit {_git('rev-parse', 'HEAD')}. Then: git tag -a {tag} -m 'orderflow {version}'"
    )


if __name__ == "__main__":
    main()
