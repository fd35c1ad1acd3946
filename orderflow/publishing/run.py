"""One run of the publisher: sends the messages, prints the uids, and sets the exit code."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import attrs
import click
from aiokafka.errors import KafkaError

from engine.telemetry.tracing import FLUSH_S
from orderflow.exits import INTERRUPTED, Failed
from orderflow.progress import progress_bar
from orderflow.publishing.feed import Feed
from orderflow.publishing.messages import Message
from orderflow.publishing.publisher import CLIENT_ID, Publisher, reason_of
from orderflow.start.brokers import wait_for_topic
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from orderflow.start.tracing import start_tracing
from orderflow.terminal import printable_line

_PROGRESS_FROM = 1000


@attrs.define
class Tally:
    """The counts of a run. `total` is the number of messages to send; None if it is unknown."""

    total: int | None = None
    sent: int = 0
    acknowledged: int = 0
    invalid: int = 0
    uids: set[str] = attrs.field(factory=set)

    def add(self, chunk: list[Message], acknowledged: list[Message]) -> list[str]:
        """Count a chunk, and return the newly acknowledged uids, in order."""
        self.sent += len(chunk)
        self.acknowledged += len(acknowledged)
        self.invalid += sum(message.order_uid is None for message in acknowledged)
        uids = dict.fromkeys(message.order_uid for message in acknowledged if message.order_uid is not None)
        new = [uid for uid in uids if uid not in self.uids]
        self.uids.update(new)
        return new

    @property
    def expected(self) -> int:
        """The number of messages to be acknowledged: `total`, or those sent so far if it is unknown."""
        return self.sent if self.total is None else self.total

    @property
    def repeated(self) -> int:
        """The number of acknowledged messages with an order that an earlier one had."""
        return self.acknowledged - self.invalid - len(self.uids)

    def __str__(self) -> str:
        parts = [f"{len(self.uids)} orders published"]
        parts += [f"{self.repeated} repeated"] if self.repeated else []
        parts += [f"{self.invalid} invalid"] if self.invalid else []
        return ", ".join(parts)


async def publish_all(
    settings: Settings, messages: AsyncIterator[Message], *, rate: float | None = None, total: int | None = None
) -> None:
    """Send all `messages`, at most `rate` per second, and print each acknowledged uid once.

    Waits for Kafka first. Raises `Failed` unless every message was acknowledged, `CannotStart` without the topic, and
    `SystemExit` with code 130 after SIGINT or SIGTERM, once the messages in flight are answered.
    """
    tracing = start_tracing("orderflow-publish", "publish", CLIENT_ID)
    await wait_for_topic(settings, settings.kafka_topic)
    publisher = Publisher(
        kafka_options(settings), settings.kafka_topic, tracing=tracing, value_format=settings.kafka_value_format
    )
    tally = Tally(total)
    click.echo("--- Published Order UIDs ---")
    feed = Feed(messages, rate)
    interrupted = False
    try:
        async with publisher:
            with _stopped_by_signals(feed):
                await _send(feed, publisher, tally)
        interrupted = feed.stopped
    except (KafkaError, TimeoutError) as error:
        raise Failed(f"nothing was sent to Kafka: {reason_of(error)}") from None
    finally:
        feed.stop()
        click.echo(f"--- {tally} ---")
        if tracing is not None:
            await tracing.close(FLUSH_S)
    if tally.invalid:
        noun = "message" if tally.invalid == 1 else "messages"
        click.echo(f"orderflow: {tally.invalid} invalid {noun} published; their uids are not printed", err=True)
    _raise_unless_complete(tally, publisher, interrupted=interrupted)


async def _send(feed: Feed, publisher: Publisher, tally: Tally) -> None:
    """Send the messages of the feed until it ends, or the broker is lost."""
    # On one terminal a bar and the uids would overwrite each other.
    shown = (tally.total or 0) >= _PROGRESS_FROM and not sys.stdout.isatty()
    with progress_bar("Publishing", tally.total, shown=shown) as progress:
        while not publisher.lost and (chunk := await _next(feed)):
            acknowledged = await publisher.publish(chunk)
            new = tally.add(chunk, acknowledged)
            if new:
                click.echo("\n".join(map(printable_line, new)))
            progress(len(chunk))


async def _next(feed: Feed) -> list[Message]:
    try:
        return await feed.take()
    except OSError as error:
        raise Failed(f"the orders cannot be read: {error.strerror}") from None


@contextmanager
def _stopped_by_signals(feed: Feed) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the feed; the second one ends the process as usual."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

    def stop() -> None:
        restore()
        feed.stop()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        restore()


def _raise_unless_complete(tally: Tally, publisher: Publisher, *, interrupted: bool) -> None:
    """Raise unless every message was acknowledged: the exit code says whether all messages arrived."""
    if interrupted:
        click.echo(f"orderflow: interrupted after {tally.acknowledged} acknowledged messages", err=True)
        raise SystemExit(INTERRUPTED)
    missing = tally.expected - tally.acknowledged
    if missing:
        reasons = publisher.refusals + Counter({"not sent": tally.expected - tally.sent})
        details = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        raise Failed(f"{missing} of {tally.expected} messages were not acknowledged: {details}")
