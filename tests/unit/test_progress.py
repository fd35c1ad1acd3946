"""Whoever waits is told what for: after two seconds, and every ten seconds from then on."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, TypeVar

import pytest

from orderflow import progress
from orderflow.progress import told_if_slow
from orderflow.start import waiting
from orderflow.start.waiting import wait_for_answer
from tests.support.virtual_time import VirtualLoop

T = TypeVar("T")


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    with closing(VirtualLoop()) as loop:
        return loop.run(work)


def test_quick_work_says_nothing() -> None:
    told: list[str] = []

    async def work() -> None:
        async with told_if_slow("working", tell=told.append):
            await asyncio.sleep(1.9)

    run_virtually(work())
    assert told == []


def test_slow_work_says_what_it_does_and_why() -> None:
    """As far as the cause can be found out; the text may be different each time."""
    told: list[str] = []
    done = 0

    async def cause() -> str | None:
        return "a lock" if done < 5 else None

    async def work() -> None:
        nonlocal done
        async with told_if_slow(lambda: f"comparing ({done} of 9)", cause, tell=told.append):
            while done < 9:
                await asyncio.sleep(1.5)
                done += 1

    run_virtually(work())
    assert told == ["Still comparing (1 of 9), 2 s so far: a lock", "Still comparing (7 of 9), 12 s so far"]


def test_a_cause_that_cannot_be_found_out_harms_nothing() -> None:
    async def cause() -> str | None:
        raise OSError

    async def work() -> str:
        async with told_if_slow("working", cause, tell=pytest.fail):
            await asyncio.sleep(30)
        return "done"

    assert run_virtually(work()) == "done"


@pytest.mark.parametrize("seconds", [0.1, 30.0])
def test_a_wait_for_a_service_is_reported_once(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the first attempt takes long: a network that drops packets gives no answer at all."""
    reported: list[float] = []

    async def ask() -> str | None:
        await asyncio.sleep(seconds)
        return "answer" if clock() > 55 else None

    async def wait() -> str:
        monkeypatch.setattr(waiting, "report_waiting", lambda *_told: reported.append(clock()))
        return await wait_for_answer(ask, 60, "PostgreSQL", "db:5432", "no answer")

    def clock() -> float:
        return asyncio.get_running_loop().time()

    assert run_virtually(wait()) == "answer"
    [at] = reported
    assert at <= progress.SLOW_S
