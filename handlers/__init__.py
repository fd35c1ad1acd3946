"""What happens to an order: decode, validate, write, cache, dead letter. It knows nothing of processes."""
