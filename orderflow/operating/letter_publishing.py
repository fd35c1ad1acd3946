"""`orderflow dlq publish`: sends letters that wait for the dead-letter topic, for a group without workers."""

import asyncio
from collections import Counter

import attrs
import click
from asyncpg import Connection

from engine.actors.backoff import Backoff
from engine.actors.status import Status
from engine.dead_letters.outbox import count_waiting, wait_again
from engine.dead_letters.publisher import LEASE_S, DeadLetterPublisher, PublishedPage
from engine.dead_letters.refusals import REFUSALS
from engine.dead_letters.store import Owner
from engine.postgres.link import Link
from engine.postgres.session import finding_by_key
from handlers.model import SUBJECT_NAME
from orderflow.exits import Failed
from orderflow.progress import progress_bar
from orderflow.publishing.publisher import reason_of
from orderflow.start.brokers import wait_for_topic
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.settings import Settings
from orderflow.terminal import json_line

_LOOK_AGAIN_S = 0.2


@attrs.define
class _Done:
    published: int = 0
    set_aside: Counter[str] = attrs.field(factory=Counter)
    trouble: Exception | None = None

    def add(self, page: PublishedPage) -> None:
        self.published += len(page.taken)
        self.set_aside.update(reason for _, reason in page.set_aside)
        self.trouble = page.trouble


async def publish_letters(
    connection: Connection, settings: Settings, owner: Owner, *, refused_too: bool, as_json: bool
) -> None:
    """Send the waiting letters to the dead-letter topic, and report on standard output, also after a failure.

    `refused_too` includes letters that were set aside before. Letters that a running engine is sending are left to it:
    they are waited for as long as the claim of a dead worker lasts.

    Raises `Failed` unless all letters were sent or set aside.
    """
    await wait_for_topic(settings, settings.kafka_dlq_topic)
    if refused_too:
        await wait_again(connection, owner, REFUSALS)
    link = Link(finding_by_key(postgres_options(settings)))

    async def waiting() -> int:
        async with link.use() as session:
            return await count_waiting(session, owner)

    publisher = DeadLetterPublisher(
        owner=owner,
        dlq_topic=settings.kafka_dlq_topic,
        producer_options=kafka_options(settings),
        link=link,
        status=Status(settings.kafka_max_retries),
        backoff=Backoff(),
        subject_name=SUBJECT_NAME,
    )
    done, left = _Done(), 0
    try:
        with progress_bar("Publishing", await waiting()) as progress:
            clock = asyncio.get_running_loop().time
            claims_end = clock() + LEASE_S
            while done.trouble is None:
                page = await publisher.publish_page()
                done.add(page)
                progress(len(page.taken) + len(page.set_aside))
                if not page.moved:
                    left = await waiting()
                    if clock() > claims_end or not left:
                        break
                    await asyncio.sleep(_LOOK_AGAIN_S)
    finally:
        await publisher.close()
        await link.close()
        _report(owner, done, as_json=as_json)
    if done.trouble is not None:
        raise Failed(f"not all letters were published: {reason_of(done.trouble)}")
    if left:
        raise Failed(f"another publisher is still sending {left} of the letters: run `orderflow dlq list` to see them")


def _report(owner: Owner, done: _Done, *, as_json: bool) -> None:
    if as_json:
        group = {"consumer_group": owner.group, "topic": owner.topic}
        click.echo(json_line({**group, "published": done.published, "set_aside": done.set_aside}))
        return
    click.echo(f"Published {_letters(done.published)}")
    for reason, count in done.set_aside.most_common():
        click.echo(f"Set aside {_letters(count)}: {reason}")


def _letters(count: int) -> str:
    return f"{count} letter{'' if count == 1 else 's'}"
