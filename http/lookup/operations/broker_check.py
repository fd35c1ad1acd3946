"""The health check of Kafka: its brokers, the topic, the partitions' leaders, and open transactions."""

import time
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from engine.kafka.brokers import REFUSED_LOGIN
from engine.kafka.open_transactions import HANGING_S, OpenTransactions
from engine.kafka.topic_offsets import TopicOffsets
from lookup.operations.health import LOGIN_REFUSED, Unhealthy, describe_tls


class BrokerCheck:
    """A Kafka broker answers and has the topic, each partition has a leader, and no transaction hangs.

    The client is kept between checks.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._topic = topic
        self._offsets = TopicOffsets(options, topic, deadline_s)
        self._transactions = OpenTransactions(self._offsets)

    async def __call__(self) -> Mapping[str, Any]:
        """Return the number of `brokers`, and by partition the messages that open transactions hold back.

        `held` is the number of messages, `held_s` for how many seconds (None: not known). Raises `Unhealthy` when no
        broker answers, the login is refused, the topic is missing, a partition has no leader (`no_leader`), or a
        transaction is open for longer than `HANGING_S`.
        """
        try:
            view = await self._offsets.look()
            held = await self._transactions.look(time.time())
        except UnknownTopicOrPartitionError:
            raise Unhealthy(f"topic {self._topic} is missing") from None
        except TopicAuthorizationFailedError:
            raise Unhealthy(f"topic {self._topic} is hidden from this login: see `orderflow doctor`") from None
        except REFUSED_LOGIN:
            raise Unhealthy(LOGIN_REFUSED) from None
        except (KafkaError, OSError) as error:
            raise Unhealthy(describe_tls(error) or "no broker answers") from None
        details = {
            "brokers": view.brokers,
            "held": {str(partition): waiting.messages for partition, waiting in sorted(held.items())},
            "held_s": {
                str(partition): waiting.seconds and round(waiting.seconds)
                for partition, waiting in sorted(held.items())
            },
        }
        leaderless = [partition for partition, leader in view.leaders.items() if leader is None]
        if leaderless:
            raise Unhealthy("partitions have no leader: start their brokers", **details, no_leader=leaderless)
        if any(state.hangs for state in held.values()):
            problem = f"a transaction is open for longer than {HANGING_S / 60:g} minutes"
            raise Unhealthy(f"{problem}: see `orderflow doctor`", **details)
        return details

    async def partitions(self) -> list[int]:
        """Return the partitions of the topic. Raises `KafkaError` and `OSError`."""
        return sorted((await self._offsets.look()).leaders)

    async def close(self) -> None:
        """Close the client. Closing twice is fine."""
        await self._transactions.close()
