"""A worker process: one event loop, the partitions that the group assigned to it, and the stages.

It stops in the order in which records pass the stages: stop fetching, let each stage finish its waiting records,
commit, leave the group.
"""

import asyncio
import gc
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

import attrs
import structlog
import uvloop
from aiokafka.errors import KafkaError

from engine.actors import failpoints
from engine.actors.cancelling import cancel
from engine.actors.status import Status
from engine.handler import Handler
from engine.postgres.errors import is_outage
from engine.processes.heartbeat import (
    HEARTBEAT_FD_VARIABLE,
    LIFELINE_FD_VARIABLE,
    Beat,
    HeartbeatSender,
    inherited_fd,
    watch_lifeline,
)
from engine.stages.assembly import Stages
from engine.stages.options import WorkerOptions
from engine.telemetry import events
from engine.telemetry.tracing import FLUSH_S

T = TypeVar("T")
GC_THRESHOLDS = (100_000, 50, 100)
MAX_REFUSED_REPORTED = 20
LEAVE_S = 5.0


def run_worker(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a worker's `main` in this process. Returns the exit code."""
    # Imported objects live as long as the process, and messages contain no reference cycles. With the default
    # thresholds garbage collection takes more time than decoding.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return uvloop.run(main())


class Worker(Generic[T]):
    """Runs a handler on the records of a topic until SIGTERM. `run` returns the exit code.

    `background` are tasks of the application that run until the worker stops. `close` is called at the end of the
    drain with the seconds that are left: it finishes work that the handler has started.
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
        self._background = background
        self._close_application = close
        self._stopping = asyncio.Event()
        self._status = status or Status()
        self._stages = Stages(options, handler, self._status, self._stopping)
        self._log = structlog.get_logger()

    def request_stop(self) -> None:
        """Start to drain."""
        self._stopping.set()

    async def run(self) -> int:
        """Run until a stop is requested. Returns 0 after a complete drain, else 1."""
        loop = asyncio.get_running_loop()
        self._watch_supervisor(loop)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.request_stop)
        failpoints.reach(failpoints.AT_BOOT)
        sender = HeartbeatSender(inherited_fd(HEARTBEAT_FD_VARIABLE), self._observe, self._status.beat_now)
        heartbeat = asyncio.create_task(sender.run(), name="heartbeat")
        try:
            clean = await self._work()
            return 0 if clean else 1
        finally:
            heartbeat.cancel()
            await self._stages.close()
            self._log.info(events.WORKER_STOPPED)

    def _watch_supervisor(self, loop: asyncio.AbstractEventLoop) -> None:
        lifeline = inherited_fd(LIFELINE_FD_VARIABLE)
        if lifeline is not None:

            def stop() -> None:
                loop.call_soon_threadsafe(self.request_stop)

            watch_lifeline(lifeline, stop, self._options.shutdown_timeout_s)

    async def _work(self) -> bool:
        self._stages.writer.start()
        self._stages.processor.start()
        source = asyncio.create_task(self._stages.source.run(), name="source")
        others = [
            asyncio.create_task(self._log_start(), name="start"),
            asyncio.create_task(self._stages.pauses.run(), name="pauses"),
            asyncio.create_task(self._stages.publisher.run(), name="dead-letters"),
            asyncio.create_task(self._stages.history.run(), name="batch-history"),
            asyncio.create_task(self._stages.history.forget_old(), name="old-batches"),
            asyncio.create_task(self._stages.writer.wait(), name="writer-watch"),
            asyncio.create_task(self._stages.processor.wait(), name="processor-watch"),
            *(asyncio.ensure_future(start()) for start in self._background),
        ]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        failed = await self._until_stop_or_failure(stop, [source, *others])
        self._stopping.set()  # a failure stops the worker too
        clean = await self._drain(source)
        await cancel(source, *others, stop)
        await self._stages.publisher.close()
        return clean and not failed

    async def _log_start(self) -> None:
        """Log the start of the worker once it is a member of the group."""
        await self._stages.source.joined.wait()
        self._log.info(events.WORKER_STARTED)

    async def _until_stop_or_failure(self, stop: "asyncio.Task[Any]", tasks: list["asyncio.Task[Any]"]) -> bool:
        """Wait for the stop request. Returns True if a task failed first. A task may end without an error."""
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
        """Stop the stages, starting with the source, within one deadline. Returns whether all records were finished."""
        deadline = time.monotonic() + self._options.shutdown_timeout_s * 0.8
        self._status.draining = True
        self._log.info(events.DRAIN_STARTED)
        self._stages.source.stop_fetching()
        await asyncio.wait({source}, timeout=min(1.0, _left(deadline)))
        source.cancel()
        processed = await self._stages.processor.stop(_left(deadline))
        written = await self._stages.writer.stop(_left(deadline))
        if not (processed and written):
            self._log.error(events.DRAIN_INCOMPLETE, waiting=self._stages.waiting)
        await self._complete_history(_left(deadline))
        if self._close_application is not None:
            await self._close_application(_left(deadline))
        if self._options.tracing is not None:
            await self._options.tracing.close(min(FLUSH_S, _left(deadline)))
        # Leaving may fail without harm: the group removes the member after its session timeout.
        await self._leave(min(LEAVE_S, max(1.0, _left(deadline))))
        return processed and written

    async def _complete_history(self, timeout_s: float) -> None:
        """Write what the last batch's row lacks. Without it the row tells of its first batch alone."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stages.history.complete()
        except Exception as error:
            if not is_outage(error):
                raise
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=type(error).__name__)

    async def _leave(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._stages.source.close()
        except (KafkaError, TimeoutError, OSError) as error:
            self._log.warning(events.KAFKA_COMMIT_FAILED, error=type(error).__name__)

    def _observe(self) -> Beat:
        now = time.monotonic()
        step, table = self._status.overdue(now), self._stages.table
        refused = table.refused
        committed_s = self._status.committed_s
        return Beat(
            state=str(self._status.state),
            partitions=table.assigned,
            overdue=None if step is None else step.name,
            details={
                **attrs.asdict(self._status.counters),
                "outages_now": self._status.outages,
                "waiting_batch": self._status.waiting_batch,
                "refused": {
                    str(partition): attrs.asdict(refusal)
                    for partition, refusal in islice(refused.items(), MAX_REFUSED_REPORTED)
                },
                "refused_count": len(refused),
                "pauses": self._stages.source.pauses_followed,
                "undrained": table.undrained,
                "member_id": self._status.member_id,
                "since_commit_s": None if committed_s is None else round(now - committed_s, 3),
                "waiting": self._stages.waiting,
                "memory_peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            },
        )


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _place(error: BaseException) -> BaseException:
    """Return an error with the same traceback but without the text, which may quote data."""
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
