"""Rejected messages: kept in PostgreSQL, published to their topic, and replayed."""
