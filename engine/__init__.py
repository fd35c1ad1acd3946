"""The actor runtime: mailboxes, batch actors, workers, their supervisor and the Kafka source. It knows nothing of orders."""
