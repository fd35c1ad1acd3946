"""Known vulnerabilities of what the locks name, as pip-audit finds them out, and the exceptions that are allowed."""

import json
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import attrs

_TIMEOUT_S = 600
_REQUEST_TIMEOUT_S = 15
_LINE = 200


class Unknown(Exception):
    """Whether there are vulnerabilities cannot be said. The message is one line."""


@attrs.frozen
class Advisory:
    """A known vulnerability of a locked package: all its names, and the versions that mend it."""

    package: str
    version: str
    names: frozenset[str]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed)}" if self.fixed else "not mended yet"
        return f"{self.package} {self.version}: {', '.join(sorted(self.names))}, {mended}"


@attrs.frozen
class Exemption:
    """An advisory that does not fail the audit: its name, why, and the last day on which that holds."""

    name: str
    reason: str
    until: date


def read_exemptions(pyproject: Path) -> list[Exemption]:
    """Read `[tool.orderflow.audit]`. Raises `ValueError` when an entry lacks its reason or its day."""
    tool = tomllib.loads(pyproject.read_text()).get("tool", {})
    found = []
    for entry in tool.get("orderflow", {}).get("audit", {}).get("exemptions", []):
        match entry:
            case {"name": str(name), "reason": str(reason), "until": date() as until, **rest} if reason and not rest:
                found.append(Exemption(name, reason, until))
            case _:
                raise ValueError(f"an exemption must have name, reason and until (a date), and no more: {entry}")
    return found


def known_advisories(locks: Sequence[Path]) -> list[Advisory]:
    """Ask the service that pip-audit is set to. Raises `Unknown` unless it answered for every package."""
    named = [word for lock in locks for word in ("--requirement", str(lock))]
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json", "--output", "-"]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pip_audit", *named, *options, "--timeout", str(_REQUEST_TIMEOUT_S)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Unknown(f"the service had not answered for all packages after {_TIMEOUT_S} s") from None
    if not ended.stdout.strip():
        if ended.returncode == 0:  # pip-audit prints nothing when nothing was found and nothing was skipped
            return []
        raise Unknown(f"the service cannot be asked: {_cause(ended.stderr)}")
    return _judge(json.loads(ended.stdout)["dependencies"])


def _judge(packages: Sequence[dict[str, Any]]) -> list[Advisory]:
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        raise Unknown(
            f"{len(skipped)} of {len(packages)} packages are not known to the service, so nothing can be said of them: "
            f"{textwrap.shorten(', '.join(package['name'] for package in skipped), 60, placeholder=' …')}"
        )
    return [
        Advisory(
            package["name"],
            package["version"],
            frozenset([found["id"], *found["aliases"]]),
            tuple(found["fix_versions"]),
        )
        for package in packages
        for found in package["vulns"]
    ]


def _cause(stderr: str) -> str:
    """Return the one line of pip-audit's log or traceback that says what happened."""
    lines = [line for line in stderr.splitlines() if ": " in line and not line.startswith((" ", "WARNING"))]
    told = [line for line in lines if "Tip: " not in line]
    return textwrap.shorten((told or ["pip-audit failed and did not say why"])[-1], _LINE, placeholder=" …")


def judge(advisories: Sequence[Advisory], exemptions: Sequence[Exemption], today: date) -> list[str]:
    """Return what fails the audit, a line each: advisories, and exemptions that have had their time."""
    failures = []
    for advisory in advisories:
        exempt = [one for one in exemptions if one.name in advisory.names]
        if not exempt:
            failures.append(str(advisory))
        failures += [f"{advisory}; exempt only until {one.until}" for one in exempt if one.until < today]
    reported = frozenset[str]().union(*(advisory.names for advisory in advisories))
    failures += [
        f"the exemption of {one.name} is needless: delete it" for one in exemptions if one.name not in reported
    ]
    return failures
