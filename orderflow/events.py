"""Every event name that the command line logs."""

WAITING_FOR_SERVICE = "waiting_for_service"
"""A service does not answer yet: its name, its address, and the longest wait in seconds."""
SCHEMA_IS_NEWER = "schema_is_newer"
"""The database has migrations that this program does not know: `detail` names both versions. The start goes on."""
OFFSETS_SKIPPED = "offsets_skipped"
"""An operator skipped a batch that cannot be read: the messages from `offset` to `last_offset` are lost."""

CA_FILE_REPLACED = "ca_file_replaced"
"""The file of certificate authorities has changed: `file`. New connections trust only its new content."""
CA_FILE_UNREADABLE = "ca_file_unreadable"
"""The changed file cannot be read: `file`, `error`. Until it can be read, its previous content stays trusted."""
