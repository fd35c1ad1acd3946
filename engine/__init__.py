"""The actor runtime: mailboxes, batch actors, workers, their supervisor, the Kafka source. It knows of no orders."""
