"""Finds out what is wrong with a set-up, and says what mends it. It changes nothing: no topic is created."""
