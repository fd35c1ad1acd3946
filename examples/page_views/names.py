"""What the pipeline is called. All of it follows from the folder's name, so that a copy is a pipeline of its own."""

import os

NAME = __package__.rpartition(".")[2]

# Not KAFKA_TOPIC: where that is set, it names the topic of orders.
TOPIC = os.environ.get(f"{NAME.upper()}_TOPIC") or NAME.replace("_", "-")
GROUP = f"{TOPIC}-writer"
DLQ_TOPIC = f"{TOPIC}-dlq"
TABLE = NAME.lower()
