"""The stand-in for python:3.11-slim, on which all others are built: Debian's packages, by debootstrap."""

import os
import shutil
from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.progress import say
from orderflow.services.service import fresh
from tools.containers.commands import Commands
from tools.containers.debian import this_debian

_PACKAGES = ("ca-certificates", "python3", "python3-venv", "python3-pip")
_TIMEOUT_S = 600
_CERTIFICATES = Path("etc", "ssl", "certs", "ca-certificates.crt")


async def build_root(run: Commands, image: str, cache: Path) -> str:
    """Make the image unless the engine has it, and return its name. Raises `CannotStart` where it cannot be made."""
    if (await run.ended("docker", "image", "inspect", image)).code == 0:
        return image
    debian = await this_debian(run)
    if debian is None or os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise CannotStart(
            "stand-ins for images that cannot be pulled are made on Debian, as root, with debootstrap "
            "(apt-get install debootstrap)"
        )
    say(f"Making a small Debian {debian.release} with Python")
    folder = fresh(cache / "root")
    try:
        options = ["--variant=minbase", f"--include={','.join(_PACKAGES)}"]
        await run("debootstrap", *options, debian.release, folder, debian.mirror, timeout_s=_TIMEOUT_S)
        _finish(folder)
        pack = 'tar --directory "$1" --create . | docker import --change "ENV LANG=C.UTF-8" - "$2"'
        await run("bash", "-euo", "pipefail", "-c", pack, "pack", folder, image, timeout_s=_TIMEOUT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return image


def _finish(folder: Path) -> None:
    """Make it what the Dockerfile expects: `python`, a pip that installs, and this machine's certificates."""
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for mark in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    machine = Path("/", _CERTIFICATES)
    if machine.exists():
        shutil.copyfile(machine, folder / _CERTIFICATES)
    shutil.rmtree(folder / "var/cache/apt/archives", ignore_errors=True)
