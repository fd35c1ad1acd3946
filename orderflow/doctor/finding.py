"""What a check found."""

import asyncio
from collections.abc import AsyncIterator
from enum import StrEnum

import attrs

CHECK_TIMEOUT_S = 5.0
"""The longest that one check may take."""


class Outcome(StrEnum):
    """How a check ended. `WARNING`: it works, but not as somebody may think. `SKIPPED`: what it needs has failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    """What was checked, how it ended, and one line about it; of a failure or warning the line says what mends it."""

    check: str
    outcome: Outcome
    message: str


def ok(check: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Outcome.OK, message)


def failed(check: str, problem: str, fix: str) -> Finding:
    """Return a finding that something is wrong, and what to do about it."""
    return Finding(check, Outcome.FAILED, f"{problem}: {fix}")


def warned(check: str, problem: str, fix: str) -> Finding:
    """Return a finding of what works, but not as somebody may think, and what to do about it."""
    return Finding(check, Outcome.WARNING, f"{problem}: {fix}")


def skipped(check: str, needs: str) -> Finding:
    """Return a finding that a check could not be made."""
    return Finding(check, Outcome.SKIPPED, f"needs {needs}")


async def all_within_time(findings: AsyncIterator[Finding], what: str) -> list[Finding]:
    """Collect findings; each may take `CHECK_TIMEOUT_S`. What takes longer is itself a finding, and the last one."""
    collected: list[Finding] = []
    while True:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                collected.append(await anext(findings))
        except StopAsyncIteration:
            return collected
        except TimeoutError:
            problem = f"{what} did not answer within {CHECK_TIMEOUT_S:g} s"
            fix = "see whether its address is right, whether a firewall is on the way, and what its log says"
            return [*collected, failed(what, problem, fix)]
