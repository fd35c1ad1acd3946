"""Membership of a consumer group: joins, says that it lives, hears what it is assigned, commits, and leaves.

One routine, in the order of Kafka's protocol: find the coordinator, join, share out if this member leads, hear the
assignment, then beat until the group wants to share out anew. Whatever fails is tried again from the step that it
calls for, for as long as it takes. While the group shares out anew a member keeps what it has: offsets in PostgreSQL
are moved by compare-and-set, so that two owners of a partition do no harm, and a pause would.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    MemberIdRequired,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from engine.kafka.brokers import TROUBLE, Brokers, describe_kafka
from engine.kafka.group_assignment import (
    STRATEGY,
    decode_assignment,
    decode_member,
    encode_assignment,
    encode_member,
    share_out,
)
from engine.telemetry import events

SESSION_S = 6.0
"""How long a killed member is missed: the shortest that an unmodified broker allows."""
REBALANCE_S = 15.0
HEARTBEAT_S = 0.3
RETRY_S = 0.2
LONGEST_RETRY_S = 2.0
COMMIT_S = 5.0
_PURPOSE = "group"
_REJOIN = (RebalanceInProgressError, IllegalGenerationError)


class GroupMember:
    """One member of `group`, which reads `topic`.

    `assigned` is told of every assignment, whole; `joined_as` of the member id, as soon as there is one; `failing` of
    the reason, a short text, while the group cannot be reached or refuses, and of None once it is well.
    """

    def __init__(
        self,
        brokers: Brokers,
        group: str,
        topic: str,
        *,
        assigned: Callable[[set[int]], None],
        joined_as: Callable[[str | None], None],
        failing: Callable[[str | None], None],
    ) -> None:
        self._brokers = brokers
        self._group = group
        self._topic = topic
        self._assigned = assigned
        self._joined_as = joined_as
        self._failing = failing
        self._owned: set[int] = set()
        self._member_id = ""
        self._generation = -1
        self._coordinator: int | None = None
        self._shared_out: dict[str, list[int]] | None = None
        self._joined = False
        self._unreadable: str | None = None
        self._beaten_s = 0.0
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Be a member until cancelled."""
        failed = 0
        while True:
            try:
                if not self._joined:
                    await self._join()
                await self._beat()
                failed = 0
                self._failing(self._unreadable)
                await asyncio.sleep(HEARTBEAT_S)
            except TROUBLE as error:
                failed += 1
                self._take_back(error)
                if not isinstance(error, _REJOIN):
                    self._failing(describe_kafka(error))
                    await asyncio.sleep(min(RETRY_S * 2 ** min(failed, 10), LONGEST_RETRY_S))

    def _take_back(self, error: BaseException) -> None:
        """Go back to the step that has to be done again after an error."""
        if isinstance(error, UnknownMemberIdError):
            self._forget_id()
        elif isinstance(error, _REJOIN):
            self._joined = False
        else:
            self._coordinator = None
        waits = not self._joined and isinstance(error, TimeoutError)
        if self._owned and not waits and asyncio.get_running_loop().time() - self._beaten_s > SESSION_S:
            # The group has given them to others by now; and a coordinator that has not must hear of it. But one that
            # only waits until all have joined, however long a stranger takes, gives them to nobody.
            self._joined = False
            self._hear(set())

    def _forget_id(self) -> None:
        self._member_id, self._joined = "", False
        self._joined_as(None)
        self._hear(set())

    async def _join(self) -> None:
        answer = await self._ask_to_join()
        self._beaten_s = asyncio.get_running_loop().time()
        self._generation = answer.generation_id
        shares = await self._share_out(answer) if answer.leader_id == answer.member_id else []
        synced = await self._send(
            SyncGroupRequest(self._group, self._generation, self._member_id, None, shares), REBALANCE_S
        )
        self._joined = True
        self._beaten_s = asyncio.get_running_loop().time()
        try:
            mine = decode_assignment(synced.member_assignment, self._topic)
        except KafkaError as error:
            # To join again would only have everybody share out anew: the next assignment may be a better one.
            mine, self._unreadable = set(), str(error)
        else:
            self._unreadable = None
        self._hear(mine)

    async def _ask_to_join(self) -> Any:
        while True:
            protocols = [(STRATEGY, encode_member(self._topic, self._owned))]
            request = JoinGroupRequest(
                self._group,
                int(SESSION_S * 1000),
                int(REBALANCE_S * 1000),
                self._member_id,
                None,
                "consumer",
                protocols,
            )
            answer = await self._send(request, REBALANCE_S + 5, accept=MemberIdRequired.errno)
            if self._member_id != answer.member_id:
                self._member_id = answer.member_id
                self._joined_as(answer.member_id)
            if not answer.error_code:
                return answer

    async def _share_out(self, answer: Any) -> list[tuple[str, bytes]]:
        """Decide, as the group's leader, who gets what."""
        members = {one[0]: decode_member(one[-1]) for one in answer.members}
        topics = {topic for member in members.values() for topic in member.topics}
        self._brokers.topics = topics | {self._topic}
        await self._brokers.refresh()
        self._shared_out = {topic: self._brokers.partitions(topic) for topic in topics}
        shares = share_out(members, self._shared_out)
        return [(name, encode_assignment(share)) for name, share in shares.items()]

    async def _beat(self) -> None:
        """Say that this member lives. Raises `RebalanceInProgressError` when it is time to join anew."""
        if self._shared_out is not None and any(
            self._brokers.partitions(topic) != before for topic, before in self._shared_out.items()
        ):
            self._shared_out = None
            raise RebalanceInProgressError("the topic has other partitions than those that were shared out")
        await self._send(HeartbeatRequest(self._group, self._generation, self._member_id), HEARTBEAT_S * 10)
        self._beaten_s = asyncio.get_running_loop().time()

    async def _send(self, request: Any, answer_s: float, accept: int = 0) -> Any:
        """Return the coordinator's answer. Raises the error that it names, unless its code is `accept`."""
        if self._coordinator is None:
            self._coordinator = await self._brokers.coordinator(self._group)
        answer = await self._brokers.send(self._coordinator, request, _PURPOSE, answer_s)
        if answer.error_code and answer.error_code != accept:
            raise for_code(answer.error_code)(self._group)
        return answer

    def _hear(self, partitions: set[int]) -> None:
        self._owned = set(partitions)
        self._assigned(set(partitions))

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit offsets for the tools that read them; nothing else does. Returns whether the broker took them."""
        if not self._joined or self._coordinator is None:
            return False
        rows = [(partition, offset, "") for partition, offset in sorted(offsets.items())]
        request = OffsetCommitRequest(
            self._group,
            self._generation,
            self._member_id,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [(self._topic, rows)],
        )
        try:
            # By a connection of its own: a broker answers in turn, and a slow commit must not hold up a heartbeat.
            answer = await self._brokers.send(self._coordinator, request, "commit", COMMIT_S)
        except TROUBLE as error:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=describe_kafka(error))
            return False
        codes = {code for _, answered in answer.topics for _, code in answered if code}
        if codes:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=", ".join(for_code(code).__name__ for code in codes))
        return not codes

    async def leave(self) -> None:
        """Leave the group: its partitions go to others at once. Raises Kafka's errors and the network's."""
        if self._member_id:
            await self._send(LeaveGroupRequest(self._group, self._member_id), COMMIT_S)
