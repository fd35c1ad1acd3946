"""Kafka brokers of a test's own: to stop, to move, to take rights away from, and to damage."""
