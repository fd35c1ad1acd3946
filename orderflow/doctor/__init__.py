"""Checks a set-up, and says how to fix each problem. It changes nothing: no topic is created."""
