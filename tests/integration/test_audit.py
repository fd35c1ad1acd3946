"""`make audit` against vulnerability services of the test's own, and locks that were changed."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from orderflow.services import free_ports
from tests.support.programs import Finished
from tests.support.small_wheel import NAME, VERSION, lock_of, make_wheel, tampered
from tests.support.vulnerability_services import ALIAS, KNOWN, knows_nothing, osv
from tools.audit import LOCKS

ROOT = Path(__file__).parents[2]
_HASH = f"--hash=sha256:{64 * '0'}"


@attrs.frozen
class Checkout:
    """A folder with locks, to be audited."""

    folder: Path

    async def run(self, *command: str, **environment: str) -> Finished:
        """Run a command in the folder to its end."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        assert process.returncode is not None
        return Finished(process.returncode, stdout.decode(), stderr.decode())

    async def audit(self, check: str, environment: Mapping[str, str]) -> Finished:
        """Run one check of the audit."""
        return await self.run(sys.executable, "-m", "tools.audit", check, **environment)


def _checkout(folder: Path) -> Checkout:
    first, *others = (folder / lock for lock in LOCKS)
    for lock in others:
        lock.parent.mkdir(parents=True)
        lock.write_text(f"second==2.0 \\\n    {_HASH}\n")
    first.write_text(f"first==1.0 \\\n    {_HASH}\n")
    (folder / "pyproject.toml").touch()
    return Checkout(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Provide a folder whose locks name two packages."""
    return _checkout(tmp_path / "checkout")


def _asking(url: str) -> dict[str, str]:
    return {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url}


async def test_packages_without_a_known_vulnerability_pass(checkout: Checkout) -> None:
    """The service is asked for the packages of all locks, and knows nothing bad of them."""
    async with osv({}) as service:
        ended = await checkout.audit("advisories", _asking(service.url))
    assert (ended.returncode, ended.lines) == (0, ["ok      advisories: no package has a known vulnerability"])
    assert service.asked == {"first", "second"}


async def test_a_vulnerable_package_fails_by_its_name(checkout: Checkout) -> None:
    """One line names the package, the advisory and what mends it; an exemption lets it pass."""
    async with osv({"second": "2.1"}) as service:
        ended = await checkout.audit("advisories", _asking(service.url))
        assert ended.returncode == 1
        assert ended.lines == [f"FAILED  advisories: second 2.0: {ALIAS}, {KNOWN}, mended in 2.1"]
        (checkout.folder / "pyproject.toml").write_text(
            "[tool.orderflow.audit]\n"
            f'exemptions = [{{ name = "{ALIAS}", reason = "it is never called", until = 9999-12-31 }}]\n'
        )
        assert (await checkout.audit("advisories", _asking(service.url))).returncode == 0


@pytest.mark.parametrize("trouble", ["down", "broken", "ignorant"])
async def test_a_service_that_cannot_tell_fails_in_one_line(checkout: Checkout, trouble: str) -> None:
    """Nobody listens, it answers 500, or it knows no such packages: none of it passes for a clean result."""
    async with osv({}, status=500) as broken, knows_nothing(checkout.folder) as ignorant:
        environment, told = {
            "down": (_asking(f"http://127.0.0.1:{free_ports(1)[0]}/"), "the service cannot be asked"),
            "broken": (_asking(broken.url), "500"),
            "ignorant": (ignorant, "2 of 2 packages are not known to the service"),
        }[trouble]
        ended = await checkout.audit("advisories", environment)
    assert ended.returncode == 1
    (line,) = ended.lines
    assert line.startswith("FAILED  advisories: ")
    assert told in line
    assert ended.stderr == ""


@pytest.mark.long
async def test_a_lock_whose_hash_was_changed_installs_nothing(tmp_path: Path) -> None:
    """The command of `make setup` itself: it installs the wheel of the lock, and none when one digit differs."""
    wheel = make_wheel(tmp_path)
    offered = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    make = ("make", "--no-print-directory", "-f", str(ROOT / "Makefile"), f"PYTHON={sys.executable}", ".venv/.locked")
    whole, changed = _checkout(tmp_path / "whole"), _checkout(tmp_path / "changed")
    for one, lock in ((whole, lock_of(wheel)), (changed, tampered(lock_of(wheel)))):
        for path in LOCKS:
            (one.folder / path).write_text(lock_of(wheel))
        (one.folder / LOCKS[0]).write_text(lock)

    made, refused = await asyncio.gather(*(one.run(*make, **offered) for one in (whole, changed)))
    assert made.returncode == 0, made.stderr
    assert [path.name for path in whole.folder.glob(".venv/lib/*/site-packages/next*.py")] == ["next_to_nothing.py"]
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not list(changed.folder.glob(".venv/lib/*/site-packages/next*"))
    assert not (changed.folder / ".venv" / ".locked").exists()

    passed, failed = await asyncio.gather(*(one.audit("index", offered) for one in (whole, changed)))
    assert passed.returncode == 0
    assert failed.returncode == 1
    assert failed.lines == [f"FAILED  index: requirements.lock: {NAME}=={VERSION} has another hash in the index"]
