"""Log lines, names of log events, and spans."""
