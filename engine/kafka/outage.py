"""Detects outages of Kafka, and reports them in the log and in the worker's status."""

import asyncio
import random

import structlog

from engine.actors.backoff import Backoff
from engine.actors.status import Status
from engine.kafka.brokers import Brokers, describe_kafka
from engine.kafka.fetcher import Fetcher
from engine.telemetry import events

SILENCE_S = 5.0
"""If no broker answers for so many seconds, it is an outage. Fetch requests are answered several times a second."""
FAILING_S = 2.0
"""How long the group coordinator may be missing or return errors. It does so while it moves to another broker."""


class KafkaOutage:
    """Reports one outage at a time, whatever its cause. The clients retry by themselves; this class only reports.

    `hidden` is the error for which Kafka does not return the topic's metadata, None while it does.
    """

    def __init__(self, brokers: Brokers, fetcher: Fetcher, status: Status, backoff: Backoff) -> None:
        self._brokers = brokers
        self._fetcher = fetcher
        self._status = status
        self._backoff = backoff
        self.hidden: str | None = None
        self._group_fails: tuple[str, float] | None = None
        self._tries = 0
        self._next_try_at = 0.0
        self._log = structlog.get_logger()

    def note_group(self, failure: str | None) -> None:
        """Set why the group cannot be reached or returns errors. None: it works."""
        if failure is None:
            self._group_fails = None
        else:
            since_s = asyncio.get_running_loop().time() if self._group_fails is None else self._group_fails[1]
            self._group_fails = failure, since_s

    def watch(self) -> None:
        """Report when an outage begins, continues or ends. Call this several times a second."""
        failure = self._failure(asyncio.get_running_loop().time())
        if failure is not None:
            self.failing(failure)
            return
        self._tries, self._next_try_at = 0, 0.0
        if self._status.recovered("kafka"):
            self._log.info(events.OUTAGE_ENDED, of="kafka")

    def failing(self, failure: str) -> None:
        """Report that a try has failed, unless another one was reported shortly before: the intervals grow."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._next_try_at:
            self._tries += 1
            self._next_try_at = now_s + self._declare(failure, self._tries)

    def _failure(self, now_s: float) -> str | None:
        if now_s - self._brokers.last_answer_s > SILENCE_S:
            error = self._brokers.last_error
            return "no answer" if error is None else describe_kafka(error)
        if self._group_fails is not None and now_s - self._group_fails[1] > FAILING_S:
            return self._group_fails[0]
        return self.hidden or self._fetcher.refused

    def _declare(self, failure: str, attempt: int) -> float:
        """Report a failed try. Returns the delay before the next report in seconds."""
        delay_s = self._backoff.delay_s(attempt, random.random())
        self._status.outage("kafka", attempt)
        event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
        self._log.warning(event, of="kafka", error=failure, tries=attempt, next_try_s=round(delay_s, 2))
        return delay_s
