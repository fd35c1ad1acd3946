"""The locks name exact versions with sha256 hashes, and the audit finds out where they, or `.venv`, do not."""

import re
from datetime import date
from pathlib import Path

import pytest

from tools.advisories import Advisory, Exemption, judge, read_exemptions
from tools.audit import LOCKS
from tools.locks import Lock, differences, read_lock

ROOT = Path(__file__).parents[2]
HASH = f"--hash=sha256:{64 * 'a'}"


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_the_locks_of_this_project_are_whole(lock: Path) -> None:
    """Every line is a package's, and no address of an index stands there."""
    assert read_lock(ROOT / lock).faults == ()


def _lock(tmp_path: Path, text: str, name: str = "some.lock") -> Lock:
    (tmp_path / name).write_text(text)
    return read_lock(tmp_path / name)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://user:password@example.org/simple",
        "--find-links /wheels",
        "--hash=sha256:" + 64 * "a",
        "http://example.org/a-1.0-py3-none-any.whl",
        f"a @ http://example.org/a.whl {HASH}",
        "a==1.0",
        f"a>=1.0 {HASH}",
        f"a==1.* {HASH}",
        f"a {HASH}",
        "a==1.0 --hash=md5:" + 32 * "a",
        f"a==1.0 {HASH} --hash=sha256:12",
        f"a==1.0 {HASH} --index-url=http://example.org",
        f"a==1.0 --global-option=b {HASH}",
        "",
    ],
)
def test_what_does_not_belong_in_a_lock_is_found(tmp_path: Path, line: str) -> None:
    """Whatever is not one exact version with sha256 hashes alone is a fault with its line, and is not shown whole."""
    lock = _lock(tmp_path, f"# a comment\n{line}\n")
    (fault,) = lock.faults[:1]
    assert fault.startswith(f"{lock.path}:2: " if line else f"{lock.path}: ")
    assert "password" not in fault


def test_what_is_installed_is_compared_with_the_locks(tmp_path: Path) -> None:
    """Another version, a package that lacks and one that no lock names are found; markers and spellings are heeded."""
    wanted = _lock(
        tmp_path, f"A-b==1.0 {HASH}\nc==2 {HASH}\nd==3 {HASH}\nwin==1 ; sys_platform == 'win32' {HASH}\n", "wanted.lock"
    )
    allowed = [
        _lock(tmp_path, f"e==1 {HASH}\nf==1 {HASH}\n", "allowed.lock"),
        _lock(tmp_path, f"e==1 {HASH}\ng==1 {HASH}\n", "another.lock"),
    ]
    same = {"a-b": "1.0", "c": "2", "d": "3", "e": "1", "g": "1", "own": "0"}
    assert differences(same, wanted, allowed, own="own") == []
    other = {"a-b": "1.0", "c": "2.1", "e": "2", "stray": "1", "own": "0"}
    found = differences(other, wanted, allowed, own="own")
    assert [line.split()[0] for line in found] == ["c", "d==3", "e", "e", "stray"]


def test_every_lock_of_the_repository_is_audited() -> None:
    """Whichever target of the Makefile installs it."""
    installed = re.findall(r"--require-hashes --requirement (\S+?)\)?$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {Path(lock) for lock in installed} == set(LOCKS)


def test_an_exemption_holds_for_its_advisory_until_its_day() -> None:
    """Any name of the advisory will do; past its day, or once it is needless, it fails the audit."""
    advisory = Advisory("a", "1.0", frozenset({"GHSA-1", "CVE-1"}), ())
    today = date(2026, 12, 1)
    assert judge([advisory], [], today) == ["a 1.0: CVE-1, GHSA-1, not mended yet"]
    assert judge([advisory], [Exemption("CVE-1", "never called", today)], today) == []
    assert "exempt only until" in judge([advisory], [Exemption("CVE-1", "never called", date(2026, 11, 30))], today)[0]
    assert "needless" in judge([], [Exemption("CVE-1", "never called", today)], today)[0]


@pytest.mark.parametrize("entry", ['name = "CVE-1", until = 2027-01-01', 'name = "CVE-1", reason = "never called"'])
def test_an_exemption_needs_its_reason_and_its_day(tmp_path: Path, entry: str) -> None:
    """Nothing is ignored for no reason, nor for ever."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.orderflow.audit]\nexemptions = [{{ {entry} }}]\n")
    with pytest.raises(ValueError, match="name, reason and until"):
        read_exemptions(tmp_path / "pyproject.toml")
