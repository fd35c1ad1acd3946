"""The names of the pipeline. All of them come from the name of the folder, so a copy is a separate pipeline."""

import os

NAME = __package__.rpartition(".")[2]

# Not KAFKA_TOPIC: if that is set, it is the topic of orders.
TOPIC = os.environ.get(f"{NAME.upper()}_TOPIC") or NAME.replace("_", "-")
GROUP = f"{TOPIC}-writer"
DLQ_TOPIC = f"{TOPIC}-dlq"
TABLE = NAME.lower()
