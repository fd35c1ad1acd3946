"""Brokers, the consumer group, fetching, offsets and lag."""
