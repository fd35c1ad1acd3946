"""Made-up orders, and sending messages to Kafka."""
