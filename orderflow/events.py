"""Every event name that the command line logs."""

WAITING_FOR_SERVICE = "waiting_for_service"
"""A service does not answer yet: which, where, and how long it is waited for at most."""
OFFSETS_SKIPPED = "offsets_skipped"
"""An operator moved a partition past a batch that cannot be read: what lies from `offset` to `last_offset` is lost."""

CA_FILE_REPLACED = "ca_file_replaced"
"""The file of certificate authorities has changed: `file`. New connections accept what it holds now, and only that."""
CA_FILE_UNREADABLE = "ca_file_unreadable"
"""That file has changed and cannot be read: `file`, `error`. Until it can be, what it held before is accepted."""
