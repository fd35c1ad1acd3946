"""What an operator does to a running system: lag, offsets, dead letters, retention."""
