"""Actors and their mailboxes, what they declare, and how long they wait between tries."""
