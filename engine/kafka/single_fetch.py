"""Fetches the data at one offset of one partition, to inspect it without consuming."""

from typing import Any

from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest

from engine.kafka.brokers import Brokers
from engine.kafka.fetcher import FETCH_BYTES
from engine.kafka.record_batches import FetchedPartition
from engine.kafka.topic_offsets import READ_UNCOMMITTED


async def fetch_at(brokers: Brokers, topic: str, partition: int, offset: int) -> FetchedPartition:
    """Fetch the batches from `offset` on, as many as fit into one response, with those of open transactions.

    The broker does not wait for new records. Raises Kafka's errors (for example `OffsetOutOfRangeError`) and `OSError`.
    """
    leader = brokers.leader(partition)
    if leader is None:
        raise LeaderNotAvailableError(f"partition {partition} has no leader")
    rows = [(topic, [(partition, offset, FETCH_BYTES)])]
    request = FetchRequest(0, 0, FETCH_BYTES, READ_UNCOMMITTED, rows)
    answer: Any = await brokers.send(leader, request, "fetch")
    [(_, [(_, code, end, *_, data)])] = answer.topics
    if code:
        raise for_code(code)(partition)
    return FetchedPartition(topic, partition, offset, data, end=end)
