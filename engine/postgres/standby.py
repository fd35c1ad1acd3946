"""Whether commits wait for a synchronous standby."""

from typing import Any

COMMITS_WAIT = "commits wait for a synchronous standby (synchronous_standby_names)"
LASTING_S = 3.0
"""How long a COMMIT has waited when it counts. With a standby each COMMIT waits for a moment."""
# A role that may not see the details of other sessions sees NULL instead: then only its own sessions count, and any
# standby that is connected may be a synchronous one.
_COMMITS_WAIT = """
SELECT CASE WHEN current_setting('synchronous_standby_names') = '' OR pg_is_in_recovery() THEN false
       WHEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'
                    AND query_start < clock_timestamp() - make_interval(secs => $1)) THEN true
       ELSE current_setting('synchronous_commit') NOT IN ('off', 'local') AND NOT EXISTS (
            SELECT FROM pg_stat_replication WHERE sync_state IS NULL OR sync_state IN ('sync', 'quorum')) END
"""


async def commits_wait(connection: Any) -> bool:
    """Return whether a COMMIT has waited for `LASTING_S` seconds, or would wait because there is no such standby."""
    waits: bool = await connection.fetchval(_COMMITS_WAIT, LASTING_S)
    return waits
