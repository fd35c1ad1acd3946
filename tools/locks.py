"""The locks: whether they name exact versions with sha256 hashes alone, and whether that is what is installed."""

import re
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@attrs.frozen
class Lock:
    """A lock as it was read: its requirements, and what is wrong in it, a line each with the place."""

    path: Path
    requirements: tuple[Requirement, ...]
    faults: tuple[str, ...]


def read_lock(path: Path) -> Lock:
    """Read a lock as pip-compile writes it. Whatever is no requirement, hash or comment is a fault."""
    requirements, faults = [], []
    for number, line in _logical_lines(path.read_text()):
        name, *hashes = line.split(" --hash=")
        try:
            requirements.append(_pinned(name, [f"--hash={digest}".strip() for digest in hashes]))
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if not requirements:
        faults.append(f"{path}: it names no package")
    return Lock(path, tuple(requirements), tuple(faults))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield what stands between line ends that no backslash continues, with the number of its first line."""
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            yield number - len(parts) + 1, " ".join(parts)
            parts = []
    if parts:
        yield number, " ".join(parts)


def _pinned(text: str, hashes: Sequence[str]) -> Requirement:
    """Return the requirement. Raises `ValueError` when it is not one exact version with sha256 hashes."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        # The line is not shown: it may be an address with a password.
        raise ValueError("only packages with exact versions and sha256 hashes may stand here") from None
    exact = [pin for pin in requirement.specifier if pin.operator == "==" and "*" not in pin.version]
    if requirement.url or len(exact) != 1 or len(requirement.specifier) != 1:
        raise ValueError(f"{requirement.name} must have one exact version (==)")
    if not hashes or not all(_HASH.fullmatch(digest) for digest in hashes):
        raise ValueError(f"{requirement.name} must have sha256 hashes, and no other option")
    return requirement


def installed() -> dict[str, str]:
    """Return the versions of the packages in this Python's own folders, by canonical name."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return {canonicalize_name(found.name): found.version for found in distributions(path=sorted(folders))}


def differences(versions: dict[str, str], wanted: Lock, allowed: Sequence[Lock], *, own: str) -> list[str]:
    """Return how `versions` differ from the lock `wanted`: a line a package.

    What those of `allowed` name may be there too, and so may `own`, the project itself.
    """
    found = []
    for lock, must in ((wanted, True), *((one, False) for one in allowed)):
        for requirement in lock.requirements:
            version = versions.get(canonicalize_name(requirement.name))
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            if version is None and must:
                found.append(f"{requirement} is not installed")
            elif version is not None and not requirement.specifier.contains(version, prereleases=True):
                found.append(f"{requirement.name} {version} is installed, and {lock.path} says {requirement}")
    known = {canonicalize_name(each.name) for lock in (wanted, *allowed) for each in lock.requirements}
    found += [f"{name} {versions[name]} is in no lock" for name in sorted(set(versions) - known - {own})]
    return found
