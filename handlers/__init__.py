"""The handling of orders: decode, validate, write and cache. Nothing here depends on processes or Kafka."""
