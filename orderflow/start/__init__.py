"""Shared start-up of all commands: settings, connections, and waiting for services."""
