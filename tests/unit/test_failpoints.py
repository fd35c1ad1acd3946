"""Failpoints strike where and when they are told to, once; unarmed they are nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.actors import failpoints
from engine.actors.failpoints import AFTER_COMMIT, AFTER_COPY, Failpoint, arm, parse_failpoints


def empty(_place: str) -> None:
    return


@pytest.fixture
def shots(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the actions that are taken, instead of dying of them."""
    taken: list[str] = []
    for action in failpoints.ACTIONS:
        monkeypatch.setitem(failpoints.ACTIONS, action, lambda action=action: taken.append(action))
    return taken


def test_an_unarmed_failpoint_is_a_call_of_an_empty_function() -> None:
    """Nothing is looked up, counted or compared: its code is that of a function that only returns."""
    unarmed = arm({})
    assert unarmed.__code__.co_code == empty.__code__.co_code
    assert unarmed.__closure__ is None
    assert arm({"ORDERFLOW_FAILPOINTS": ""}) is unarmed


def test_this_process_is_unarmed() -> None:
    """No test inherits a failpoint, and what the engine calls is the empty function itself."""
    assert failpoints.reach is arm({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("after-copy=kill", [Failpoint("after-copy", "kill", 1)]),
        ("after-commit=freeze@3", [Failpoint("after-commit", "freeze", 3)]),
        ("at-boot=block, after-cache-write=kill@2", [
            Failpoint("at-boot", "block", 1), Failpoint("after-cache-write", "kill", 2),
        ]),
    ],
)  # fmt: skip
def test_a_place_an_action_and_a_count_are_read(text: str, expected: list[Failpoint]) -> None:
    """The count is 1 unless it is said."""
    assert parse_failpoints(text) == expected


@pytest.mark.parametrize(
    "text", ["nowhere=kill", "after-copy", "after-copy=explode", "after-copy=kill@soon", "=kill@1"]
)
def test_anything_else_is_refused(text: str) -> None:
    """A fault run with a misspelt failpoint must not pass for one that was survived."""
    with pytest.raises(ValueError, match="after-copy"):
        parse_failpoints(text)


def test_it_strikes_at_its_place_and_count(shots: list[str], tmp_path: Path) -> None:
    """Other places and earlier visits pass; the shot is fired once, by whichever process comes first."""
    environ = {"ORDERFLOW_FAILPOINTS": "after-copy=freeze@2", "ORDERFLOW_FAILPOINTS_FIRED": str(tmp_path)}
    reach, successor = arm(environ), arm(environ)
    reach(AFTER_COPY)
    reach(AFTER_COMMIT)
    assert shots == []
    reach(AFTER_COPY)
    assert shots == ["freeze"]
    assert [file.name for file in tmp_path.iterdir()] == ["after-copy-freeze-2"]
    for _ in range(3):
        reach(AFTER_COPY)
        successor(AFTER_COPY)
    assert shots == ["freeze"]


def test_without_a_folder_every_process_fires(shots: list[str]) -> None:
    """For a fault that comes again and again."""
    for reach in [arm({"ORDERFLOW_FAILPOINTS": "at-boot=kill"}) for _ in range(3)]:
        reach("at-boot")
    assert shots == ["kill"] * 3


def test_kill_is_a_death_without_warning() -> None:
    """The process ends by SIGKILL at the place itself."""
    program = "from engine.actors import failpoints; failpoints.reach('after-copy'); print('survived')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"ORDERFLOW_FAILPOINTS": "after-copy=kill"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (-9, b"")
