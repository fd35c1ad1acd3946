"""The Debian release of this machine: its mirror, and packages of another release from there."""

from pathlib import Path

import attrs

from orderflow.exits import Failed
from tools.containers.commands import Commands

NEXT_RELEASE = {"bookworm": "trixie"}
"""The release after one whose own package of compose is too old."""
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TIMEOUT_S = 300


@attrs.frozen
class Debian:
    """A release of Debian, by its code name, and the address of a mirror that has it."""

    mirror: str
    release: str

    async def download(self, run: Commands, package: str, folder: Path) -> Path:
        """Download a package into `folder` and return its path. It is not installed, and apt's own state stays as is.

        Raises `Failed`.
        """
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        sources = folder / "sources.list"
        sources.write_text(f"deb [signed-by={_KEYS}] {self.mirror} {self.release} main\n")
        options = [
            f"Dir::Etc::SourceList={sources}",
            "Dir::Etc::SourceParts=/dev/null",
            f"Dir::State::Lists={folder / 'lists'}",
            f"Dir::Cache={folder}",
            # Its own user could not write here.
            "APT::Sandbox::User=root",
        ]
        apt = ["apt-get", "--quiet", *(word for option in options for word in ("--option", option))]
        await run(*apt, "update", timeout_s=_TIMEOUT_S)
        there = attrs.evolve(run, folder=folder)
        await there(*apt, "download", package, timeout_s=_TIMEOUT_S)
        return _downloaded(folder, package)


def _downloaded(folder: Path, package: str) -> Path:
    packages = sorted(folder.glob(f"{package}_*.deb"))
    if not packages:
        raise Failed(f"apt-get has downloaded no package {package} into {folder}")
    return packages[-1]


async def this_debian(run: Commands) -> Debian | None:
    """Return the release and the mirror that this machine's apt uses; None if it is not a Debian."""
    try:
        ended = await run.ended(
            *("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"),
            *("Created-By: Packages", "Origin: Debian", "Component: main"),
        )
    except Failed:
        return None
    for line in ended.output.splitlines():
        mirror, _, release = line.partition(" ")
        if release.isalpha():  # not bookworm-updates, nor bookworm-security
            return Debian(mirror.rstrip("/"), release)
    return None
