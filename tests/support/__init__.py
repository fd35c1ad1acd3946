"""Helpers for tests: services, separate databases and topics in them, and running programs."""
