"""The stored position of a partition. PostgreSQL keeps it; the opener and the fetcher use it."""

import attrs


@attrs.frozen
class StoredOffset:
    """The next offset of a partition, and the last consumed record, which shows whether the topic is still the same."""

    next_offset: int
    last_offset: int | None
    last_timestamp: int | None
    last_checksum: int | None
    epoch: int
