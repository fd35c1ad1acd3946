"""Membership of a consumer group: join, receive an assignment, send heartbeats, commit offsets, leave.

One loop in the order of Kafka's protocol: find the coordinator, join, assign the partitions if this member is the group
leader, sync to receive the assignment, then send heartbeats until the next rebalance. After an error it continues at
the step that the error requires, and retries without a limit.

During a rebalance a member keeps its partitions. Offsets in PostgreSQL are moved by compare-and-set, so two owners of a
partition do no harm, and consuming does not pause.
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
    assign_partitions,
    decode_assignment,
    decode_member,
    encode_assignment,
    encode_member,
)
from engine.telemetry import events

SESSION_S = 6.0
"""The session timeout: how long it takes to detect a killed member. The minimum that a broker allows by default."""
REBALANCE_S = 15.0
HEARTBEAT_S = 0.3
RETRY_S = 0.2
LONGEST_RETRY_S = 2.0
COMMIT_S = 5.0
_PURPOSE = "group"
_REJOIN = (RebalanceInProgressError, IllegalGenerationError)


class GroupMember:
    """One member of the consumer group `group`, which reads `topic`.

    It calls `assigned` with all partitions of each new assignment, and `joined_as` with its member id as soon as it has
    one. It calls `failing` with a short reason while the group cannot be reached or returns errors, and with None when
    it works.
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
        self._assigned_topics: dict[str, list[int]] | None = None
        self._joined = False
        self._assignment_error: str | None = None
        self._heartbeat_s = 0.0
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Stay a member of the group until cancelled."""
        failed = 0
        while True:
            try:
                if not self._joined:
                    await self._join()
                await self._send_heartbeat()
                failed = 0
                self._failing(self._assignment_error)
                await asyncio.sleep(HEARTBEAT_S)
            except TROUBLE as error:
                failed += 1
                self._reset_after(error)
                if not isinstance(error, _REJOIN):
                    self._failing(describe_kafka(error))
                    await asyncio.sleep(min(RETRY_S * 2 ** min(failed, 10), LONGEST_RETRY_S))

    def _reset_after(self, error: BaseException) -> None:
        """Go back to the step that must be repeated after an error."""
        if isinstance(error, UnknownMemberIdError):
            self._forget_id()
        elif isinstance(error, _REJOIN):
            self._joined = False
        else:
            self._coordinator = None
        waits = not self._joined and isinstance(error, TimeoutError)
        if self._owned and not waits and asyncio.get_running_loop().time() - self._heartbeat_s > SESSION_S:
            # The session has expired: the group has assigned the partitions to others, or this member must rejoin. But
            # while the coordinator only waits for all members to join, it does not assign the partitions to others.
            self._joined = False
            self._take_assignment(set())

    def _forget_id(self) -> None:
        self._member_id, self._joined = "", False
        self._joined_as(None)
        self._take_assignment(set())

    async def _join(self) -> None:
        answer = await self._send_join()
        self._heartbeat_s = asyncio.get_running_loop().time()
        self._generation = answer.generation_id
        shares = await self._assign(answer) if answer.leader_id == answer.member_id else []
        synced = await self._send(
            SyncGroupRequest(self._group, self._generation, self._member_id, None, shares), REBALANCE_S
        )
        self._joined = True
        self._heartbeat_s = asyncio.get_running_loop().time()
        try:
            partitions = decode_assignment(synced.member_assignment, self._topic)
        except KafkaError as error:
            # Joining again would only cause another rebalance for all members. The next assignment may be valid.
            partitions, self._assignment_error = set(), str(error)
        else:
            self._assignment_error = None
        self._take_assignment(partitions)

    async def _send_join(self) -> Any:
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

    async def _assign(self, answer: Any) -> list[tuple[str, bytes]]:
        """Assign the partitions to all members, as the group leader."""
        members = {member[0]: decode_member(member[-1]) for member in answer.members}
        topics = {topic for member in members.values() for topic in member.topics}
        self._brokers.topics = topics | {self._topic}
        await self._brokers.refresh()
        self._assigned_topics = {topic: self._brokers.partitions(topic) for topic in topics}
        shares = assign_partitions(members, self._assigned_topics)
        return [(name, encode_assignment(share)) for name, share in shares.items()]

    async def _send_heartbeat(self) -> None:
        """Send a heartbeat. Raises `RebalanceInProgressError` when this member must join again."""
        if self._assigned_topics is not None and any(
            self._brokers.partitions(topic) != before for topic, before in self._assigned_topics.items()
        ):
            self._assigned_topics = None
            raise RebalanceInProgressError("the partitions of the topic have changed since they were assigned")
        await self._send(HeartbeatRequest(self._group, self._generation, self._member_id), HEARTBEAT_S * 10)
        self._heartbeat_s = asyncio.get_running_loop().time()

    async def _send(self, request: Any, answer_s: float, accept: int = 0) -> Any:
        """Send a request to the coordinator and return its answer. Raises its error, unless the code is `accept`."""
        if self._coordinator is None:
            self._coordinator = await self._brokers.coordinator(self._group)
        answer = await self._brokers.send(self._coordinator, request, _PURPOSE, answer_s)
        if answer.error_code and answer.error_code != accept:
            raise for_code(answer.error_code)(self._group)
        return answer

    def _take_assignment(self, partitions: set[int]) -> None:
        self._owned = set(partitions)
        self._assigned(set(partitions))

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit offsets for tools such as lag monitors. The engine itself does not read them. Returns success."""
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
            # On its own connection: a broker answers in order, and a slow commit must not delay a heartbeat.
            answer = await self._brokers.send(self._coordinator, request, "commit", COMMIT_S)
        except TROUBLE as error:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=describe_kafka(error))
            return False
        codes = {code for _, answered in answer.topics for _, code in answered if code}
        if codes:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=", ".join(for_code(code).__name__ for code in codes))
        return not codes

    async def leave(self) -> None:
        """Leave the group, so that its partitions are reassigned at once. Raises Kafka's errors and `OSError`."""
        if self._member_id:
            await self._send(LeaveGroupRequest(self._group, self._member_id), COMMIT_S)
