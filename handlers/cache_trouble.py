"""What is wrong with Redis, from its error: the cause and the fix."""

import re
from collections.abc import Sequence

import attrs
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from handlers.cache_cluster import NotACluster

# Inside a script Redis says it in other words.
_DENIED = re.compile(r"ACL failure|no permissions", re.IGNORECASE)
_UNKNOWN_COMMAND = re.compile(r"unknown .*command", re.IGNORECASE)
_TOO_MANY_CLIENTS = "max number of clients"


@attrs.frozen
class Trouble:
    """What is wrong: a word for programs, a sentence for people and the fix. It has no address and no password."""

    cause: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}"


NOT_REACHABLE = Trouble("not_reachable", "not reachable", "start it, or check REDIS_ADDR and REDIS_TLS")
NODE_NOT_REACHABLE = Trouble("node_not_reachable", "a node of the cluster does not answer", "look at CLUSTER NODES")
LOGIN_REFUSED = Trouble("login_refused", "it refuses the login", "check REDIS_USERNAME and REDIS_PASSWORD")
FULL = Trouble(
    "memory_full",
    "its memory is full, and it refuses new answers",
    "give it more memory (maxmemory), or a maxmemory-policy that evicts, such as allkeys-lru",
)
READ_ONLY = Trouble(
    "read_only",
    "it is a read-only replica",
    "name the primary in REDIS_ADDR, or make this server the primary (REPLICAOF NO ONE)",
)
NO_PERMISSION = Trouble(
    "no_permission", "it denies this user a command or a key", "run `orderflow doctor`, which names the ACL rules"
)
_COMMAND_MISSING = Trouble(
    "command_missing",
    "it lacks a command that the cache needs",
    "take rename-command out of its configuration for GET, MGET, SET, GETRANGE, UNLINK, EVALSHA and SCRIPT",
)
_LOADING = Trouble("loading", "it loads its data", "wait until it has loaded them")
_CLUSTER_DOWN = Trouble(
    "cluster_down", "the cluster is down: a part of its slots has no primary", "look at CLUSTER INFO and CLUSTER NODES"
)
_NOT_A_CLUSTER = Trouble(
    "not_a_cluster",
    "a server in the list is not a node of the cluster",
    "name one host:port in REDIS_ADDR, or only nodes of one Redis Cluster",
)
_SLOTS_MOVE = Trouble(
    "redirected", "it redirects to other nodes again and again", "look at CLUSTER NODES for open slots"
)
_TOO_MANY = Trouble("too_many_clients", "it accepts no more connections", "raise maxclients, or run fewer processes")
_BY_CODE = {
    "NOREPLICAS": Trouble(
        "too_few_replicas",
        "it refuses writes while it has too few replicas",
        "attach its replicas, or lower min-replicas-to-write",
    ),
    "MISCONF": Trouble(
        "snapshot_failed",
        "it refuses writes because it could not save its data",
        "free space on its disk (see its log), or run in redis-cli: CONFIG SET stop-writes-on-bgsave-error no",
    ),
    "BUSY": Trouble("busy", "a script of another program blocks it", "run in redis-cli: SCRIPT KILL"),
}


_BY_CLASS: Sequence[tuple[tuple[type[Exception], ...], Trouble]] = (
    ((ReadOnlyError, MasterDownError), READ_ONLY),  # before the class that MasterDownError is made from
    ((ClusterDownError,), _CLUSTER_DOWN),
    ((AskError, ClusterCrossSlotError), _SLOTS_MOVE),
    ((NoPermissionError,), NO_PERMISSION),
    ((AuthenticationError,), LOGIN_REFUSED),
    ((BusyLoadingError,), _LOADING),
    ((OutOfMemoryError,), FULL),
)


def trouble_of(error: BaseException, *, in_cluster: bool) -> Trouble:
    """Return what is wrong. An error that says nothing else means that Redis is not reachable, or one of its nodes."""
    for classes, trouble in _BY_CLASS:
        if isinstance(error, classes):
            return trouble
    if isinstance(error, ResponseError):
        return _of_text(error)
    if _TOO_MANY_CLIENTS in str(error):
        return _TOO_MANY
    return NODE_NOT_REACHABLE if in_cluster else NOT_REACHABLE


def _of_text(error: ResponseError) -> Trouble:
    text = str(error)
    code = text.partition(" ")[0]
    if code in _BY_CODE:
        return _BY_CODE[code]
    if isinstance(error, NotACluster):
        return _NOT_A_CLUSTER
    if _DENIED.search(text):
        return NO_PERMISSION
    if _UNKNOWN_COMMAND.search(text):
        return _COMMAND_MISSING
    return Trouble("refused", f"it refuses a command ({code})", "look at its log and its configuration")
