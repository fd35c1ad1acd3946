"""What is known of an open partition while it is fetched, and what was fetched of it."""

import attrs

from engine.kafka.record_batches import FetchedPartition
from engine.kafka.stored_offset import StoredOffset


@attrs.define(eq=False)
class FetchState:
    """The fetch state of an open partition. `opening` numbers the opening it belongs to.

    - `position`: the next offset to fetch. Records before `floor` have already been consumed
    - `emitted`: the offset after the last record that was passed on, or is being passed on
    - `last_consumed`: the last consumed record. It is fetched again to check that the topic is still the same
    - `gaps`: the topic is known to be compacted
    - `whole`: a batch is known to end at `position`
    - `read_failures`: how often in a row the batch at `position` could not be read
    - `fetch_alone`: fetch this partition without others. A batch that is larger than a response was returned in part,
      or nothing was returned
    - `withheld_since_s`: since when the broker has said that there are records, but has returned none
    - `busy_since_s`: since when fetched data of this partition has waited to be handed on
    - `leader_seen_s`, `answered_s`: when the partition last had a leader, and when the leader last answered
    """

    opening: int
    epoch: int
    position: int
    floor: int
    last_consumed: StoredOffset | None = None
    gaps: bool = False
    whole: bool = False
    emitted: int = 0
    read_failures: int = 0
    fetch_alone: bool = False
    withheld_since_s: float | None = None
    busy_since_s: float | None = None
    paused_until_s: float = 0.0
    leader_seen_s: float = 0.0
    answered_s: float = 0.0
    last_error: str = ""


@attrs.frozen
class Fetched:
    """A response for one partition: the fetched data, or the error that the broker returned instead."""

    partition: int
    state: FetchState
    answer: FetchedPartition
    error: BaseException | None = None
