"""Fetches the open partitions from their leaders, with one fetch request at a time per broker.

Fetched data waits in the queue `fetched`. A partition is fetched again only after its data was handed on. If a
partition has no leader, or its broker returns an error, then only this partition is paused for a moment.
"""

import asyncio
import random
from collections import defaultdict

from aiokafka.errors import (
    CorruptRecordException,
    NoError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from engine.actors.cancelling import cancel
from engine.kafka.brokers import ANSWER_S, TROUBLE, Brokers, describe_kafka
from engine.kafka.fetch_state import Fetched, FetchState
from engine.kafka.record_batches import CorruptBatch, FetchedPartition
from engine.kafka.topic_offsets import READ_COMMITTED

_WITH_REPLICA = 11
"""From this version on, a fetch response has a field for the preferred replica before the records."""
FETCH_BYTES = 1024 * 1024
"""The fetch size per partition in one request. A larger record is returned alone."""
ANSWER_BYTES = 4 * 1024 * 1024
LEAST_BYTES = 64 * 1024
"""The smallest size of a fetch response that is requested when larger ones do not arrive in time."""
WAIT_MS = 500
"""How long a broker may wait for records before it answers."""
SHORT_WAIT_MS = 20
NEW_S = 1.0
"""How long after a partition was added the broker waits only shortly: others are probably added, too."""
AHEAD_S = 0.02
"""How long to wait for the data of a broker to be handed on, before its other partitions are fetched."""
PAUSE_S = 0.3
TURN_S = 1.0
"""How often the leaders are looked at while nothing is fetched or paused."""
FAILING_S = 15.0
"""How long a leader may fail before the partition is reported. A broker that starts fails for a while."""
WITHHELD_S = 10.0
"""How long a broker may return no records although it says that it has some.

It fills a response with other partitions first, and may have to read from remote storage.
"""
LEADERLESS_S = 3.0
"""How long a partition may have no leader, for example in an election, before it is reported."""


class Fetcher:
    """Fetches the partitions that `follow` adds. `run` puts the results into the queue `fetched` until cancelled.

    `refused` is the name of Kafka's error if a permission is missing, else None.
    """

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._states: dict[int, FetchState] = {}
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self._bytes = 0
        self._most_bytes: dict[int, int] = {}
        self._wake = asyncio.Event()
        self._followed_s = 0.0
        self._some_paused_until_s = 0.0
        self.fetched: asyncio.Queue[Fetched] = asyncio.Queue()
        self.refused: str | None = None

    def follow(self, partition: int, state: FetchState) -> None:
        """Fetch a partition from `state.position` on. This replaces its earlier state."""
        self._followed_s = state.leader_seen_s = state.answered_s = asyncio.get_running_loop().time()
        self._states[partition] = state
        self._wake.set()

    def state(self, partition: int) -> FetchState | None:
        """Return the fetch state of a partition, or None if it is not followed."""
        return self._states.get(partition)

    def forget(self, partition: int) -> None:
        """Stop fetching a partition."""
        self._states.pop(partition, None)
        if not self._states:
            self.refused = None  # without requests there is no answer that could reset it

    def unserved(self) -> dict[int, str]:
        """Return the partitions that have had no leader, or a failing leader, for a while, with the reason.

        While no broker answers at all, this is an outage: then failing leaders are not reported per partition.
        """
        now_s = asyncio.get_running_loop().time()
        reasons = {}
        for partition, state in self._states.items():
            if self._brokers.leader(partition) is None:
                if now_s - state.leader_seen_s > LEADERLESS_S:
                    reasons[partition] = "no broker leads the partition"
            elif now_s - state.answered_s > FAILING_S and now_s - self._brokers.last_answer_s < LEADERLESS_S:
                reasons[partition] = f"its leader does not return records: {state.last_error or 'no answer'}"
        return reasons

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._start_requests()
                timer = asyncio.get_running_loop().call_later(self._turn_s(), self._wake.set)
                await self._wake.wait()
                timer.cancel()
        finally:
            await cancel(*self._in_flight.values())

    def _turn_s(self) -> float:
        """Return how long to wait for an event. A request in flight wakes the loop when it ends."""
        if self._bytes:
            return AHEAD_S
        return PAUSE_S if asyncio.get_running_loop().time() < self._some_paused_until_s + PAUSE_S else TURN_S

    def _request_ended(self, _request: "asyncio.Task[None]") -> None:
        self._wake.set()

    def _start_requests(self) -> None:
        """Send a fetch request to each broker that has none in flight and leads a partition that is ready."""
        for node, sent in [*self._in_flight.items()]:
            if sent.done():
                del self._in_flight[node]
                sent.result()
        now_s = asyncio.get_running_loop().time()
        if self._bytes > ANSWER_BYTES:
            for state in self._states.values():
                state.answered_s = now_s  # no request is sent, so a missing answer is not the broker's fault
            return
        ready, busy = self._by_leader(now_s)
        answer_bytes = max(FETCH_BYTES // 2, ANSWER_BYTES // max(1, len(ready)))
        for node, states in ready.items():
            since_s = busy.get(node)
            if node not in self._in_flight and (since_s is None or now_s - since_s >= AHEAD_S):
                is_short = since_s is not None or now_s - self._followed_s < NEW_S
                wait_ms = SHORT_WAIT_MS if is_short else WAIT_MS
                request = self._request(node, _select_states(states), wait_ms, answer_bytes)
                self._in_flight[node] = asyncio.create_task(request, name=f"fetch-{node}")
                self._in_flight[node].add_done_callback(self._request_ended)

    def _by_leader(self, now_s: float) -> tuple[dict[int, dict[int, FetchState]], dict[int, float]]:
        """Return, by broker, the partitions that can be fetched, and since when its last data is being handed on."""
        ready: defaultdict[int, dict[int, FetchState]] = defaultdict(dict)
        busy: dict[int, float] = {}
        for partition, state in self._states.items():
            node = self._brokers.leader(partition)
            if node is None:
                self._brokers.stale, self._some_paused_until_s = True, now_s
                continue
            state.leader_seen_s = now_s
            if state.busy_since_s is not None:
                state.answered_s = now_s
                busy[node] = max(state.busy_since_s, busy.get(node, 0.0))
            elif state.paused_until_s <= now_s:
                ready[node][partition] = state
        return ready, busy

    async def _request(self, node: int, states: dict[int, FetchState], wait_ms: int, answer_bytes: int) -> None:
        positions = {partition: state.position for partition, state in states.items()}
        answer_bytes = min(answer_bytes, self._most_bytes.get(node, ANSWER_BYTES))
        partition_bytes = min(FETCH_BYTES, answer_bytes)
        rows = [(partition, position, partition_bytes) for partition, position in positions.items()]
        # A batch that is larger than the limits is returned complete only for the first partition in the request.
        random.shuffle(rows)
        request = FetchRequest(wait_ms, 1, answer_bytes, READ_COMMITTED, [(self._topic, rows)])
        try:
            answer = await self._brokers.send(node, request, "fetch", wait_ms / 1000 + ANSWER_S)
        except TROUBLE as error:
            self._brokers.stale = True
            if isinstance(error, TimeoutError):
                # On a slow network a large response does not arrive in time.
                self._most_bytes[node] = max(LEAST_BYTES, answer_bytes // 2)
            for state in states.values():
                state.last_error = describe_kafka(error)
                self.pause(state)
            return
        self._most_bytes[node] = min(ANSWER_BYTES, self._most_bytes.get(node, ANSWER_BYTES) * 2)
        if not answer.topics:
            for state in states.values():
                state.answered_s = asyncio.get_running_loop().time()  # a quota delays the data
        for _, partitions in answer.topics:
            for partition, code, end, *rest in partitions:
                state = states[partition]
                # After a leader election the new leader may have been asked, too, and may have answered first.
                waits = state.busy_since_s is not None
                if self._states.get(partition) is state and state.position == positions[partition] and not waits:
                    aborted = rest[2] if answer.API_VERSION >= _WITH_REPLICA else rest[-2]
                    fetched = FetchedPartition(
                        self._topic,
                        partition,
                        state.position,
                        rest[-1],
                        tuple(aborted or ()),
                        state.gaps,
                        end,
                        state.whole,
                    )
                    withheld = not fetched.data and rest[0] > fetched.position
                    self._take(partition, state, code, fetched, withheld=withheld, alone=len(positions) == 1)

    def _take(
        self, partition: int, state: FetchState, code: int, answer: FetchedPartition, *, withheld: bool, alone: bool
    ) -> None:
        error_type, now_s = for_code(code), asyncio.get_running_loop().time()
        if error_type is TopicAuthorizationFailedError:
            self.refused = error_type.__name__
            state.answered_s = now_s
            self.pause(state)
        elif error_type in (OffsetOutOfRangeError, CorruptRecordException, UnknownTopicOrPartitionError):
            self._hand_over(Fetched(partition, state, answer, error_type(partition)))
        elif error_type is not NoError:
            self._brokers.stale = True
            state.last_error = error_type.__name__
            self.pause(state)
        else:
            self.refused = None
            state.answered_s = now_s
            if not withheld:
                state.withheld_since_s = None
                state.fetch_alone = state.fetch_alone and bool(answer.data)
            elif state.withheld_since_s is None:
                state.withheld_since_s = now_s
            elif now_s - state.withheld_since_s > WITHHELD_S:
                # A broker that cannot read past a corrupt batch returns no records and no error for ever.
                state.fetch_alone = True
                if alone:
                    error = CorruptBatch(answer.position, "the broker returns no records, but says that it has more")
                    self._hand_over(Fetched(partition, state, answer, error))
            if answer.data:
                self._hand_over(Fetched(partition, state, answer))

    def _hand_over(self, fetched: Fetched) -> None:
        fetched.state.busy_since_s = asyncio.get_running_loop().time()
        self._bytes += len(fetched.answer.data or b"")
        self.fetched.put_nowait(fetched)

    def release(self, fetched: Fetched) -> None:
        """Release fetched data that was handed on. Its partition may then be fetched again, from `state.position`."""
        self._bytes -= len(fetched.answer.data or b"")
        fetched.state.busy_since_s = None
        self._wake.set()

    def pause(self, state: FetchState) -> None:
        """Do not fetch a partition for `PAUSE_S` seconds."""
        state.paused_until_s = self._some_paused_until_s = asyncio.get_running_loop().time() + PAUSE_S


def _select_states(states: dict[int, FetchState]) -> dict[int, FetchState]:
    """Return the first partition that must be fetched alone. If there is none, return all."""
    alone = next((partition for partition, state in states.items() if state.fetch_alone), None)
    return states if alone is None else {alone: states[alone]}
