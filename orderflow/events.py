"""Every event name that the command line logs."""

WAITING_FOR_SERVICE = "waiting_for_service"
"""A service does not answer yet: which, where, and how long it is waited for at most."""
OFFSETS_SKIPPED = "offsets_skipped"
"""An operator moved a partition past a batch that cannot be read: what lies from `offset` to `last_offset` is lost."""
