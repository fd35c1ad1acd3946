"""Log lines, their events, and spans."""
