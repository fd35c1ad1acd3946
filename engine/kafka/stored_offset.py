"""Where a partition is to be read on: what PostgreSQL keeps of it, and what the fetcher and the opener go by."""

import attrs


@attrs.frozen
class StoredOffset:
    """Where to go on in a partition, and the last record before that, by which the topic is recognised."""

    next_offset: int
    last_offset: int | None
    last_timestamp: int | None
    last_checksum: int | None
    epoch: int
