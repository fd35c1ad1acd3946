"""A worker process: one event loop, some partitions, and the actors between Kafka and PostgreSQL.

    KafkaSource ──chunks──► processor (handle_message) ──handled chunks──► writer (handle_batch, one transaction)
                                                                             └─► dead letters, the handler's follow-up

Stopping goes the same way: stop fetching, let each actor finish what waits for it, commit, leave the group.
"""

import asyncio
import random
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

import attrs
import structlog
from aiokafka.errors import KafkaError

from engine import events, failpoints
from engine.actor import BatchActor
from engine.backoff import Backoff
from engine.batch_writer import BatchWriter, Identity
from engine.blockers import BlockerWatch
from engine.brake import Brake, BrakeLimits
from engine.brake_pause import BrakePause
from engine.dead_letter_headers import read_replay_headers
from engine.dead_letter_publisher import DeadLetterPublisher
from engine.handler import Handler
from engine.heartbeat import (
    HEARTBEAT_FD_VARIABLE,
    LIFELINE_FD_VARIABLE,
    Beat,
    HeartbeatSender,
    inherited_fd,
    watch_lifeline,
)
from engine.kafka_source import KafkaSource
from engine.partitions import PartitionTable
from engine.postgres import Link, finding_by_key, with_server_settings
from engine.records import Chunk, Entry, HandledChunk
from engine.status import Status
from engine.verdict import Rejected

T = TypeVar("T")
LOCK_TIMEOUT_MS = 5000
MAX_REFUSED_TOLD = 20
LEAVE_S = 5.0
SHUTDOWN_TIMEOUT_S = 30.0


@attrs.frozen(kw_only=True)
class WorkerOptions:
    """What a worker needs to know. Times are in seconds, sizes in bytes.

    `kafka_options` and `postgres_options` are keyword arguments of every aiokafka client and of `asyncpg.connect`.
    """

    identity: Identity
    dlq_topic: str
    kafka_options: dict[str, Any]
    postgres_options: dict[str, Any]
    batch_max_records: int = 1000
    batch_max_bytes: int = 8 * 1024 * 1024
    backoff: Backoff = Backoff()
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S
    brake: BrakeLimits = BrakeLimits()


class Worker(Generic[T]):
    """Runs a handler over a topic until SIGTERM; `run` returns the exit code.

    `background` are the application's own endless tasks (catching up, warming); `close` ends its follow-ups.
    """

    def __init__(
        self,
        options: WorkerOptions,
        handler: Handler[T],
        status: Status | None = None,
        background: Sequence[Callable[[], Awaitable[None]]] = (),
        close: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._options = options
        self._handler = handler
        self._background = background
        self._close_application = close
        self._stopping = asyncio.Event()
        self._status = status or Status()
        self._table = PartitionTable()
        self._log = structlog.get_logger()
        identity, postgres = options.identity, options.postgres_options
        self._write_link = Link(_for_writing(postgres))
        self._open_link, self._outbox_link, self._watch_link = Link(postgres), Link(postgres), Link(postgres)
        self._brake_link = Link(postgres)
        self._brake = Brake(options.brake)
        self._brake_pause = BrakePause(identity, self._brake, self._brake_link, self._status)
        self._publisher = DeadLetterPublisher(
            identity.topic,
            identity.group,
            options.dlq_topic,
            options.kafka_options,
            self._outbox_link,
            self._status,
            options.backoff,
        )
        watch = BlockerWatch(self._watch_link)
        writer = BatchWriter(
            identity,
            handler,
            self._write_link,
            watch,
            self._table,
            self._status,
            options.backoff,
            self._publisher.wake,
        )
        # One batch waits while the one before it is at work: a second would gain no speed and cost memory.
        capacity = {
            "max_items": options.batch_max_records,
            "max_weight": options.batch_max_bytes,
            "capacity_items": options.batch_max_records,
            "capacity_weight": options.batch_max_bytes,
        }
        self._writer: BatchActor[HandledChunk[T]] = BatchActor("writer", writer.handle_batch, **capacity)
        self._processor: BatchActor[Chunk] = BatchActor("processor", self._process, **capacity)
        self._source = KafkaSource(
            identity.topic,
            identity.group,
            options.kafka_options,
            self._open_link,
            watch,
            self._table,
            self._status,
            options.backoff,
            self._emit,
            # A chunk no longer than the window: the brake works to within a window.
            min(options.batch_max_records, options.brake.window),
            options.batch_max_bytes,
        )

    async def _emit(self, chunk: Chunk) -> None:
        await self._processor.put(chunk, chunk.size_bytes, len(chunk.records))

    async def _process(self, chunks: list[Chunk]) -> None:
        handle = self._handler.handle_message
        for chunk in chunks:
            if self._table.opened(chunk.partition, chunk.opening) is None:
                continue
            if self._brake.engaged:
                return  # told to stop in the pause: all that is left here is consumed again by whoever comes next
            entries = [Entry(record, handle(record)) for record in chunk.records]
            handled = HandledChunk(
                chunk.partition, chunk.opening, chunk.epoch, entries, chunk.size_bytes, chunk.consumed_at
            )
            await self._writer.put(handled, chunk.size_bytes, len(entries))
            for entry in entries:
                rejected = isinstance(entry.value, Rejected)
                # A dead letter that an operator sends again says nothing of what is upstream.
                if not (rejected and read_replay_headers(entry.record, self._options.identity.topic)):
                    self._brake.saw(rejected)
            if self._brake.engaged:
                await self._brake_pause.hold(self._stopping)
            await asyncio.sleep(0)

    def request_stop(self) -> None:
        """Begin to drain."""
        self._stopping.set()

    async def run(self) -> int:
        """Work until told to stop. Returns 0 after a clean drain, else 1."""
        loop = asyncio.get_running_loop()
        self._watch_supervisor(loop)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.request_stop)
        failpoints.reach(failpoints.AT_BOOT)
        sender = HeartbeatSender(inherited_fd(HEARTBEAT_FD_VARIABLE), self._observe)
        heartbeat = asyncio.create_task(sender.run(), name="heartbeat")
        try:
            if not await self._join_group():
                return 0
            clean = await self._work()
            return 0 if clean else 1
        finally:
            heartbeat.cancel()
            for link in (self._write_link, self._open_link, self._outbox_link, self._watch_link, self._brake_link):
                await link.close()
            self._log.info(events.WORKER_STOPPED)

    def _watch_supervisor(self, loop: asyncio.AbstractEventLoop) -> None:
        lifeline = inherited_fd(LIFELINE_FD_VARIABLE)
        if lifeline is not None:

            def stop() -> None:
                loop.call_soon_threadsafe(self.request_stop)

            watch_lifeline(lifeline, stop, self._options.shutdown_timeout_s)

    async def _join_group(self) -> bool:
        """Join the consumer group, however long Kafka is away. Returns False if told to stop before."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self._unless_stopped(self._source.start())
            except (KafkaError, OSError) as error:
                attempt += 1
                delay_s = self._options.backoff.delay_s(attempt, random.random())
                self._status.outage("kafka", attempt)
                self._log.warning(
                    events.OUTAGE_CONTINUES, of="kafka", error=type(error).__name__, tries=attempt, next_try_s=delay_s
                )
                await _first_of(self._stopping.wait(), delay_s)
            else:
                self._status.recovered("kafka")
                if not self._stopping.is_set():
                    self._log.info(events.WORKER_STARTED)
                    return True
        await self._leave(self._options.shutdown_timeout_s / 2)
        return False

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, or leave it when the worker is told to stop first."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _work(self) -> bool:
        self._writer.start()
        self._processor.start()
        source = asyncio.create_task(self._source.run(), name="source")
        others = [
            asyncio.create_task(self._publisher.run(), name="dead-letters"),
            asyncio.create_task(self._writer.wait(), name="writer-watch"),
            asyncio.create_task(self._processor.wait(), name="processor-watch"),
            *(asyncio.ensure_future(start()) for start in self._background),
        ]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        failed = await self._until_stop_or_failure(stop, [source, *others])
        self._stopping.set()  # a failure stops the worker too
        clean = await self._drain(source)
        for task in (*others, stop):
            task.cancel()
        await asyncio.gather(*others, stop, return_exceptions=True)
        await self._publisher.close()
        return clean and not failed

    async def _until_stop_or_failure(self, stop: "asyncio.Task[Any]", tasks: list["asyncio.Task[Any]"]) -> bool:
        """Wait for the stop signal. Returns True if a task failed first; a background task may simply end."""
        waiting = {stop, *tasks}
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                if error is not None:
                    self._log.error(
                        events.WORKER_FAILED, task=task.get_name(), error=type(error).__name__, exc_info=_place(error)
                    )
                    return True
            if stop in done:
                return False

    async def _drain(self, source: "asyncio.Task[None]") -> bool:
        """Stop from the source's end, under one deadline. Returns whether everything in flight was finished."""
        deadline = time.monotonic() + self._options.shutdown_timeout_s * 0.8
        self._status.draining = True
        self._log.info(events.DRAIN_STARTED)
        self._source.stop_fetching()
        await asyncio.wait({source}, timeout=min(1.0, _left(deadline)))
        source.cancel()
        processed = await self._processor.stop(_left(deadline))
        written = await self._writer.stop(_left(deadline))
        if not (processed and written):
            self._log.error(events.DRAIN_INCOMPLETE, waiting=len(self._processor.mailbox) + len(self._writer.mailbox))
        if self._close_application is not None:
            await self._close_application(_left(deadline))
        # Nothing is lost by not taking leave: the group misses a member that has gone after its session timeout.
        await self._leave(min(LEAVE_S, max(1.0, _left(deadline))))
        return processed and written

    async def _leave(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._source.close(), timeout_s)
        except (KafkaError, TimeoutError, OSError) as error:
            self._log.warning(events.KAFKA_COMMIT_FAILED, error=type(error).__name__)

    def _observe(self) -> Beat:
        now = time.monotonic()
        step, refused = self._status.overdue(now), self._table.refused
        committed_s = self._status.committed_s
        return Beat(
            state=str(self._status.state),
            partitions=self._table.assigned,
            overdue=None if step is None else step.name,
            details={
                **attrs.asdict(self._status.counters),
                "outages_now": self._status.outages,
                "refused": {str(partition): reason for partition, reason in islice(refused.items(), MAX_REFUSED_TOLD)},
                "refused_count": len(refused),
                "since_commit_s": None if committed_s is None else round(now - committed_s, 3),
                "waiting": len(self._processor.mailbox) + len(self._writer.mailbox),
                "memory_peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            },
        )


def _for_writing(options: dict[str, Any]) -> dict[str, Any]:
    return with_server_settings(finding_by_key(options), lock_timeout=str(LOCK_TIMEOUT_MS))


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _place(error: BaseException) -> BaseException:
    """Return the error without its text, which may quote data; the traceback stays."""
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


async def _first_of(waiting: Awaitable[Any], timeout_s: float) -> None:
    try:
        await asyncio.wait_for(waiting, timeout_s)
    except TimeoutError:
        return
