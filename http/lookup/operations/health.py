"""Whether the system is healthy: runs the checks of all parts at the same time, within a deadline."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import attrs

from engine.actors.cancelling import cancel
from engine.kafka.tls_errors import find_tls_error

POSTGRESQL = "postgresql"
KAFKA = "kafka"
ENGINE = "engine"
NOT_KNOWN: Mapping[str, Any] = {"error": "not known: it is read from PostgreSQL, which does not answer"}
LOGIN_REFUSED = "the login was refused: see `orderflow doctor`"
Check = Callable[[], Awaitable[Mapping[str, Any]]]
"""Raises when its part is not healthy. What it returns is shown to the caller and must hold no secret."""


class Unhealthy(Exception):
    """A part of the system is not healthy. The message and the details are shown to the caller."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class Impaired(Unhealthy):
    """A part answers, but cannot do all that it is for. What is read from it is known."""


@attrs.frozen
class Part:
    """The result of one check. A part that is not healthy may still answer."""

    name: str
    healthy: bool
    details: Mapping[str, Any]
    answers: bool = attrs.field()

    @answers.default
    def _answers_if_healthy(self) -> bool:
        return self.healthy


class Health:
    """Runs the checks. Concurrent calls share one run.

    The checks in `needs_postgresql` read from PostgreSQL: while it does not answer, their results are "not known".
    """

    def __init__(
        self, checks: Mapping[str, Check], *, deadline_s: float, needs_postgresql: Collection[str] = ()
    ) -> None:
        self._checks = checks
        self._deadline_s = deadline_s
        self._needs_postgresql = needs_postgresql
        self._running: dict[frozenset[str], asyncio.Task[list[Part]]] = {}

    async def examine(self, *names: str) -> list[Part]:
        """Return the results of the named checks, or of all checks, within the deadline. Never raises."""
        chosen = frozenset(names or self._checks)
        running = self._running.get(chosen)
        if running is None:
            running = asyncio.create_task(self._run(chosen), name="health")
            self._running[chosen] = running
            running.add_done_callback(lambda _: self._running.pop(chosen, None))
        return await asyncio.shield(running)

    async def _run(self, names: frozenset[str]) -> list[Part]:
        parts = await asyncio.gather(*(self._run_one(name) for name in self._checks if name in names))
        if all(part.answers for part in parts if part.name == POSTGRESQL):
            return parts
        return [attrs.evolve(part, details=NOT_KNOWN) if self._is_not_known(part) else part for part in parts]

    def _is_not_known(self, part: Part) -> bool:
        return part.name in self._needs_postgresql and not part.healthy

    async def _run_one(self, name: str) -> Part:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                details = dict(await self._checks[name]())
        except Exception as error:
            details = error.details if isinstance(error, Unhealthy) else {}
            details = {"error": _describe(error, self._deadline_s), **details}
            return Part(name, healthy=False, details=details, answers=isinstance(error, Impaired))
        return Part(
            name, healthy=True, details={**details, "duration_ms": round((time.perf_counter() - began) * 1000, 3)}
        )

    async def stop(self) -> None:
        """Cancel the running checks. Stopping twice is fine."""
        await cancel(*self._running.values())


def render_health(parts: list[Part]) -> dict[str, Any]:
    """Return the parts as the JSON object that `/healthz` answers with."""
    return {
        "status": "ok" if all(part.healthy for part in parts) else "unavailable",
        "checks": {part.name: {"status": "ok" if part.healthy else "unavailable", **part.details} for part in parts},
    }


def describe_tls(error: BaseException) -> str | None:
    """Describe a TLS error without the server's address; None if the error is not about TLS."""
    tls_error = find_tls_error(error)
    if isinstance(tls_error, ssl.SSLCertVerificationError):
        return "the certificate is not accepted: see `orderflow doctor`"
    return None if tls_error is None else "the encryption fails: see `orderflow doctor`"


def _describe(error: Exception, deadline_s: float) -> str:
    """Describe the error without the driver's text, which may hold an address, a user or a password."""
    if isinstance(error, Unhealthy):
        return str(error)
    if (refusal := describe_tls(error)) is not None:
        return refusal
    if isinstance(error, TimeoutError):
        return f"no answer within {deadline_s:g} s"
    if isinstance(error, OSError):
        return "not reachable"
    return type(error).__name__
