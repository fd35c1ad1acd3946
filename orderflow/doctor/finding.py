"""The result of a check."""

import asyncio
from collections.abc import AsyncIterator
from enum import StrEnum

import attrs

CHECK_TIMEOUT_S = 5.0
"""The longest that one check may take."""


class Outcome(StrEnum):
    """How a check ended. `WARNING`: it works, but may surprise. `SKIPPED`: a check that it depends on has failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    """What was checked, the outcome, a detail of one line, and for a failure or warning how to fix it.

    The detail of a failure with an empty fix says both.
    """

    check: str
    outcome: Outcome
    detail: str
    fix: str = ""

    @property
    def message(self) -> str:
        """The detail and the fix."""
        return f"{self.detail}: {self.fix}" if self.fix else self.detail

    def described(self) -> dict[str, str | bool]:
        """Return the finding for programs. `ok` is false for what has failed or could not be checked.

        `outcome` and `message` are `level`, and `detail` with `fix`: scripts from before read them.
        """
        ok = self.outcome in {Outcome.OK, Outcome.WARNING}
        return {
            "check": self.check,
            "ok": ok,
            "level": self.outcome,
            "detail": self.detail,
            "fix": self.fix,
            "outcome": self.outcome,
            "message": self.message,
        }


def ok(check: str, message: str) -> Finding:
    """Return a successful finding."""
    return Finding(check, Outcome.OK, message)


def failed(check: str, problem: str, fix: str) -> Finding:
    """Return a failure with its fix."""
    return Finding(check, Outcome.FAILED, problem, fix)


def warned(check: str, problem: str, fix: str) -> Finding:
    """Return a warning with its fix."""
    return Finding(check, Outcome.WARNING, problem, fix)


def skipped(check: str, needs: str) -> Finding:
    """Return a finding of a check that could not run, because `needs` is missing."""
    return Finding(check, Outcome.SKIPPED, f"needs {needs}")


async def collect_findings(findings: AsyncIterator[Finding], name: str) -> list[Finding]:
    """Collect findings. One that takes longer than `CHECK_TIMEOUT_S` becomes a failure, and ends the collection."""
    collected: list[Finding] = []
    while True:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                collected.append(await anext(findings))
        except StopAsyncIteration:
            return collected
        except TimeoutError:
            problem = f"{name} did not answer within {CHECK_TIMEOUT_S:g} s"
            fix = "check its address, firewalls in between, and its log"
            return [*collected, failed(name, problem, fix)]
