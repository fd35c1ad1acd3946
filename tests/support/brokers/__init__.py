"""Separate Kafka brokers for a test, which can be stopped, moved, damaged, or deny permissions."""
