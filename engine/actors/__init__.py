"""Actors, mailboxes, the status of a worker, and retry delays."""
