"""Fetches from the brokers that lead the open partitions, one request at a time for each broker.

What was fetched waits in `fetched` until it is handed on; a partition is fetched again only after that. Whatever
befalls one partition, no leader or an error of its broker, makes that partition rest for a moment, and no other.
"""

import asyncio
import random
from collections import defaultdict

import attrs
from aiokafka.errors import (
    CorruptRecordException,
    NoError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from engine.kafka.brokers import ANSWER_S, TROUBLE, Brokers, describe_kafka
from engine.kafka.record_batches import CorruptBatch, FetchedPartition
from engine.kafka.stored_offset import StoredOffset
from engine.kafka.topic_offsets import READ_COMMITTED

_WITH_REPLICA = 11
"""The version of the answer from which on a replica is named before the records."""
FETCH_BYTES = 2 * 1024 * 1024
"""How much of one partition a request asks for; a larger record comes alone."""
ANSWER_BYTES = 8 * 1024 * 1024
LEAST_BYTES = 64 * 1024
"""How little of it is asked for where more does not come in time."""
WAIT_MS = 250
"""How long a broker may wait for records."""
SHORT_WAIT_MS = 20
AHEAD_S = 0.02
"""How long a broker is left alone while what it sent is handed on: then the other partitions are fetched meanwhile."""
REST_S = 0.3
FAILING_S = 15.0
"""How long a leader may fail, as it does while it starts, before that is told."""
WITHHELD_S = 10.0
"""How long a broker may give nothing of what it says it has.

It fills an answer with other partitions first, and waits for a store that is far away.
"""
LEADERLESS_S = 3.0
"""How long a partition may be without a leader, as in an election, before that is told."""


@attrs.define(eq=False)
class FetchState:
    """Where an open partition is read: the opening that this belongs to, and the next offset to fetch.

    Records before `floor` were consumed earlier; `recognise` tells of the last of them, which is read again. `gaps`
    says that the topic is known to be compacted, `whole` that a batch is known to end at `position`, `broken` how often
    in a row the batch at `position` could not be read, and `alone` that it is to be fetched by itself: of a batch that
    is larger than an answer only the beginning came, or nothing came at all. `withheld_since_s` is since when the
    broker says that it has records, and gives none.
    """

    opening: int
    epoch: int
    position: int
    floor: int
    recognise: StoredOffset | None = None
    gaps: bool = False
    whole: bool = False
    broken: int = 0
    alone: bool = False
    withheld_since_s: float | None = None
    busy_since_s: float | None = None
    rests_until_s: float = 0.0
    led_s: float = 0.0
    answered_s: float = 0.0
    fails_with: str = ""


@attrs.frozen
class Fetched:
    """An answer for one partition: what was fetched, or the error that the broker gave instead."""

    partition: int
    state: FetchState
    answer: FetchedPartition
    error: BaseException | None = None


class Fetcher:
    """Fetches the partitions that it is told to follow. `run` puts what comes into `fetched`, until cancelled.

    `refused` is Kafka's word for a right that is missing, None while nothing is refused.
    """

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._states: dict[int, FetchState] = {}
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self._bytes = 0
        self._most_bytes: dict[int, int] = {}
        self._wake = asyncio.Event()
        self.fetched: asyncio.Queue[Fetched] = asyncio.Queue()
        self.refused: str | None = None

    def follow(self, partition: int, state: FetchState) -> None:
        """Fetch a partition from `state.position` on, instead of from wherever it was fetched before."""
        state.led_s = state.answered_s = asyncio.get_running_loop().time()
        self._states[partition] = state
        self._wake.set()

    def state(self, partition: int) -> FetchState | None:
        """Return where a partition is read, or None while it is not followed."""
        return self._states.get(partition)

    def forget(self, partition: int) -> None:
        """Fetch a partition no more."""
        self._states.pop(partition, None)
        if not self._states:
            self.refused = None  # nobody asks any more, and so nobody hears that it is over

    def unserved(self) -> dict[int, str]:
        """Return why nothing is fetched of the partitions that nobody has led, or whose leader has failed, for a while.

        While no broker answers at all that is an outage, and no matter of single partitions.
        """
        now_s = asyncio.get_running_loop().time()
        found = {}
        for partition, state in self._states.items():
            if self._brokers.leader(partition) is None:
                if now_s - state.led_s > LEADERLESS_S:
                    found[partition] = "no broker leads the partition"
            elif now_s - state.answered_s > FAILING_S and now_s - self._brokers.heard_s < LEADERLESS_S:
                found[partition] = f"its leader does not give its records: {state.fails_with or 'no answer'}"
        return found

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                self._start_requests()
                self._wake.clear()
                waiting = {*self._in_flight.values(), asyncio.ensure_future(self._wake.wait())}
                done, pending = await asyncio.wait(
                    waiting, timeout=AHEAD_S if self._bytes else REST_S, return_when=asyncio.FIRST_COMPLETED
                )
                for one in pending - {*self._in_flight.values()}:
                    one.cancel()
                for one in done:
                    one.result()
        finally:
            for request in self._in_flight.values():
                request.cancel()
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)

    def _start_requests(self) -> None:
        """Ask every broker that has nothing to answer just now, and of which there is something to ask."""
        self._in_flight = {node: request for node, request in self._in_flight.items() if not request.done()}
        now_s = asyncio.get_running_loop().time()
        if self._bytes > ANSWER_BYTES:
            for state in self._states.values():
                state.answered_s = now_s  # nobody is asked
            return
        ready, busy = self._by_leader(now_s)
        answer_bytes = max(FETCH_BYTES // 2, ANSWER_BYTES // max(1, len(ready)))
        for node, states in ready.items():
            since_s = busy.get(node)
            if node not in self._in_flight and (since_s is None or now_s - since_s >= AHEAD_S):
                wait_ms = WAIT_MS if since_s is None else SHORT_WAIT_MS
                request = self._request(node, _first_alone(states), wait_ms, answer_bytes)
                self._in_flight[node] = asyncio.create_task(request, name=f"fetch-{node}")

    def _by_leader(self, now_s: float) -> tuple[dict[int, dict[int, FetchState]], dict[int, float]]:
        """Return, by broker, which partitions can be fetched, and since when what it sent last is being handed on."""
        ready: defaultdict[int, dict[int, FetchState]] = defaultdict(dict)
        busy: dict[int, float] = {}
        for partition, state in self._states.items():
            node = self._brokers.leader(partition)
            if node is None:
                self._brokers.stale = True
                continue
            state.led_s = now_s
            if state.busy_since_s is not None:
                state.answered_s = now_s
                busy[node] = max(state.busy_since_s, busy.get(node, 0.0))
            elif state.rests_until_s <= now_s:
                ready[node][partition] = state
        return ready, busy

    async def _request(self, node: int, states: dict[int, FetchState], wait_ms: int, answer_bytes: int) -> None:
        asked = {partition: state.position for partition, state in states.items()}
        answer_bytes = min(answer_bytes, self._most_bytes.get(node, ANSWER_BYTES))
        each = min(FETCH_BYTES, answer_bytes)
        rows = [(partition, position, each) for partition, position in asked.items()]
        # A batch that is larger than what a request may bring comes whole only in the first place.
        random.shuffle(rows)
        request = FetchRequest(wait_ms, 1, answer_bytes, READ_COMMITTED, [(self._topic, rows)])
        try:
            answer = await self._brokers.send(node, request, "fetch", wait_ms / 1000 + ANSWER_S)
        except TROUBLE as error:
            self._brokers.stale = True
            if isinstance(error, TimeoutError):
                # So much does not come in time where the network is slow.
                self._most_bytes[node] = max(LEAST_BYTES, answer_bytes // 2)
            for state in states.values():
                state.fails_with = describe_kafka(error)
                self.rest(state)
            return
        self._most_bytes[node] = min(ANSWER_BYTES, self._most_bytes.get(node, ANSWER_BYTES) * 2)
        if not answer.topics:
            for state in states.values():
                state.answered_s = asyncio.get_running_loop().time()  # a quota holds the answer back
        for _, partitions in answer.topics:
            for partition, code, end, *rest in partitions:
                state = states[partition]
                # A leader that has moved may have been asked as well, and may have answered before.
                waits = state.busy_since_s is not None
                if self._states.get(partition) is state and state.position == asked[partition] and not waits:
                    aborted = rest[2] if answer.API_VERSION >= _WITH_REPLICA else rest[-2]
                    found = FetchedPartition(
                        self._topic,
                        partition,
                        state.position,
                        rest[-1],
                        tuple(aborted or ()),
                        state.gaps,
                        end,
                        state.whole,
                    )
                    withheld = not found.data and rest[0] > found.position
                    self._take(partition, state, code, found, withheld=withheld, alone=len(asked) == 1)

    def _take(
        self, partition: int, state: FetchState, code: int, answer: FetchedPartition, *, withheld: bool, alone: bool
    ) -> None:
        error_type, now_s = for_code(code), asyncio.get_running_loop().time()
        if error_type is TopicAuthorizationFailedError:
            self.refused = error_type.__name__
            state.answered_s = now_s
            self.rest(state)
        elif error_type in (OffsetOutOfRangeError, CorruptRecordException, UnknownTopicOrPartitionError):
            self._hand_over(Fetched(partition, state, answer, error_type(partition)))
        elif error_type is not NoError:
            self._brokers.stale = True
            state.fails_with = error_type.__name__
            self.rest(state)
        else:
            self.refused = None
            state.answered_s = now_s
            if not withheld:
                state.withheld_since_s = None
                state.alone = state.alone and bool(answer.data)
            elif state.withheld_since_s is None:
                state.withheld_since_s = now_s
            elif now_s - state.withheld_since_s > WITHHELD_S:
                # A broker that cannot find its way behind a broken batch answers so, without an error, for ever.
                state.alone = True
                if alone:
                    nothing = CorruptBatch(
                        answer.position, "the broker gives nothing from there on, and says it has more"
                    )
                    self._hand_over(Fetched(partition, state, answer, nothing))
            if answer.data:
                self._hand_over(Fetched(partition, state, answer))

    def _hand_over(self, fetched: Fetched) -> None:
        fetched.state.busy_since_s = asyncio.get_running_loop().time()
        self._bytes += len(fetched.answer.data or b"")
        self.fetched.put_nowait(fetched)

    def handed_on(self, fetched: Fetched) -> None:
        """Note that a partition's answer was dealt with: it may be fetched again, from where its state says."""
        self._bytes -= len(fetched.answer.data or b"")
        fetched.state.busy_since_s = None
        self._wake.set()

    def rest(self, state: FetchState) -> None:
        """Do not fetch a partition for a moment."""
        state.rests_until_s = asyncio.get_running_loop().time() + REST_S


def _first_alone(states: dict[int, FetchState]) -> dict[int, FetchState]:
    """Return the first of the partitions that are to be fetched alone, else all."""
    alone = next((partition for partition, state in states.items() if state.alone), None)
    return states if alone is None else {alone: states[alone]}
