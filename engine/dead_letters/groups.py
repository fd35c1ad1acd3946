"""Which consumer groups have dead letters of a topic, how many are open, and whether the group has a live worker."""

import attrs
from asyncpg import Connection

HEARD_WITHIN_S = 60
"""A group counts as gone when none of its workers has sent a heartbeat for so many seconds."""
COUNTED_MOST = 100_000
# Each count stops at a limit and reads a partial index, so its cost does not grow with the number of dead letters.
# Each group is found with one lookup in the index of the key. A NULL follows the last group.
_STATES = """
WITH RECURSIVE letter_groups AS (
    SELECT min(consumer_group) AS name FROM dead_letters
    UNION ALL
    SELECT (SELECT min(consumer_group) FROM dead_letters WHERE consumer_group > g.name) FROM letter_groups g
    WHERE g.name IS NOT NULL
)
SELECT g.name AS name, unsent.letters AS unsent, unresolved.letters AS unresolved,
       EXISTS (SELECT FROM workers w WHERE w.consumer_group = g.name AND w.topic = $1
               AND w.heartbeat_at > clock_timestamp() - make_interval(secs => $2)) AS heard
FROM letter_groups g
CROSS JOIN LATERAL (
    SELECT count(*) AS letters FROM (
        SELECT FROM dead_letters WHERE consumer_group = g.name AND topic = $1 AND published_at IS NULL
        AND publish_error IS NULL LIMIT $3
    ) AS counted
) AS unsent
CROSS JOIN LATERAL (
    SELECT count(*) AS letters FROM (
        SELECT FROM dead_letters WHERE consumer_group = g.name AND topic = $1 AND resolved_at IS NULL LIMIT $3
    ) AS counted
) AS unresolved
WHERE g.name IS NOT NULL ORDER BY g.name
"""
_HAS_LETTERS = "SELECT EXISTS (SELECT FROM dead_letters WHERE consumer_group = $1 AND topic = $2)"
_HEARD = """
SELECT EXISTS (SELECT FROM workers WHERE consumer_group = $1 AND topic = $2
               AND heartbeat_at > clock_timestamp() - make_interval(secs => $3))
"""


@attrs.frozen
class GroupState:
    """A consumer group, with its number of unpublished and of unresolved dead letters of the topic.

    Counting stops at `COUNTED_MOST`. `heard`: whether a worker of the group sent a heartbeat in the last minute.
    """

    name: str
    unsent: int
    unresolved: int
    heard: bool


async def fetch_groups(connection: Connection, topic: str) -> list[GroupState]:
    """Return every group that has dead letters of any topic, with its counts for this topic, sorted by name."""
    rows = await connection.fetch(_STATES, topic, HEARD_WITHIN_S, COUNTED_MOST)
    return [GroupState(**row) for row in rows]


async def has_letters(connection: Connection, group: str, topic: str) -> bool:
    """Return whether a group has any dead letter of the topic, resolved or not."""
    found: bool = await connection.fetchval(_HAS_LETTERS, group, topic)
    return found


async def was_heard(connection: Connection, group: str, topic: str) -> bool:
    """Return whether a worker of the group sent a heartbeat in the last minute."""
    found: bool = await connection.fetchval(_HEARD, group, topic, HEARD_WITHIN_S)
    return found
