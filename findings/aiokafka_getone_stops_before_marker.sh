#!/usr/bin/env bash
# With aiokafka's getone, position and committed offset stay before a transaction's marker, however long one waits.
#
# Versions:  aiokafka 0.14.0; confluent-kafka 2.16.1 (librdkafka); Apache Kafka 4.1.0
# Expected:  a consumer that was handed the last record has its position at the end of the log, or reaches it soon:
#            `while position < end: getone, commit` ends, and leaves no lag.
# Happens:   markers and aborted records are passed over in the next call, and getone returns only with a record: the
#            loop waits in it for ever, with 3 of 3 records handed out. The committed offset stays behind by everything
#            that is no record for this reader, 102 here. The same loop with getmany(timeout_ms=…), which may return
#            nothing, ends and leaves no lag; so does librdkafka's poll.
# Because:   only a call that looks for records moves the position, and whoever waits in getone cannot commit.
# Upstream:  aio-libs/aiokafka#911 (open) reports that the position is one below the end; librdkafka stores the offsets
#            of markers since 1.4 (confluentinc/librdkafka#2539)
# For us:    to read "up to the end", and for a lag that means something, use getmany with a timeout and commit after an
#            empty answer too. A lag of an idle topic may be markers only.
# Does:      a transaction with 3 records is committed, one with 100 is aborted. Three groups read with read_committed
#            and commit after each call, until the position is at the end, or for 8 s ("waits").
# Seen:      2026-11-29
#   3 committed records, 100 aborted ones, two markers: the log ends at 105
#   aiokafka getone: {'records': 3, 'position': 3, 'committed': 3, 'waits': True}
#   aiokafka getmany: {'records': 3, 'position': 105, 'committed': 105, 'waits': False}
#   librdkafka poll: {'records': 3, 'position': 105, 'committed': 105, 'waits': False}
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin aiokafka==0.14.0 confluent-kafka==2.16.1
make_kafka
start_kafka
create_topic changes 1
judge "$BOOTSTRAP" <<'PY'
import asyncio
import logging
import sys
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as Place

logging.disable()
BOOTSTRAP, TOPIC, LONGEST_S = sys.argv[1], "changes", 8
COMMITTED, ABORTED = 3, 100
END = COMMITTED + 1 + ABORTED + 1  # each transaction is followed by a marker


def publish():
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": "changes", "log_level": 0})
    producer.init_transactions(30)
    for count, finish in ((COMMITTED, producer.commit_transaction), (ABORTED, producer.abort_transaction)):
        producer.begin_transaction()
        for number in range(count):
            producer.produce(TOPIC, f"change {number}", partition=0)
        assert producer.flush(30) == 0
        finish(30)


async def by_getone(consumer):
    await consumer.getone()
    return 1


async def by_getmany(consumer):
    return sum(len(records) for records in (await consumer.getmany(timeout_ms=500)).values())


async def with_aiokafka(group, get):
    """Read and commit until the position is at the end. Return what was seen, and whether that took too long."""
    tp = TopicPartition(TOPIC, 0)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    records, waits = 0, False
    try:
        assert (await consumer.end_offsets([tp]))[tp] == END
        async with asyncio.timeout(LONGEST_S):
            while await consumer.position(tp) < END:
                records += await get(consumer)
                await consumer.commit()
                position = await consumer.position(tp)
    except TimeoutError:
        waits = True
    finally:
        committed = await consumer.committed(tp)
        await consumer.stop()
    return {"records": records, "position": position, "committed": committed, "waits": waits}


def with_librdkafka(group):
    """The same."""
    place = Place(TOPIC, 0)
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([TOPIC])
    records, position, begun_s = 0, -1, time.monotonic()
    while position < END and time.monotonic() - begun_s < LONGEST_S:
        message = consumer.poll(0.5)
        records += message is not None and message.error() is None
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            pass  # there is nothing new to commit
        [place] = consumer.position([place])
        position = place.offset
    [place] = consumer.committed([place], timeout=10)
    consumer.close()
    return {"records": records, "position": position, "committed": place.offset, "waits": position < END}


async def main():
    await asyncio.to_thread(publish)
    seen = {
        "aiokafka getone": await with_aiokafka("getone", by_getone),
        "aiokafka getmany": await with_aiokafka("getmany", by_getmany),
        "librdkafka poll": await asyncio.to_thread(with_librdkafka, "poll"),
    }
    at_end = {"records": COMMITTED, "position": END, "committed": END, "waits": False}
    before_marker = {"records": COMMITTED, "position": COMMITTED, "committed": COMMITTED, "waits": True}
    stated = {"aiokafka getone": before_marker, "aiokafka getmany": at_end, "librdkafka poll": at_end}
    print(f"{COMMITTED} committed records, {ABORTED} aborted ones, two markers: the log ends at {END}")
    for reader, state in seen.items():
        print(f"{reader}: {state}")
    if seen != stated:
        print(f"CHANGED: expected {stated}, seen {seen}")
        sys.exit(10)


asyncio.run(main())
PY
