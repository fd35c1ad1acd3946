"""Generated orders, and sending messages to Kafka."""
