"""Page views: JSON messages of a topic become rows of a table, by the names of names.py. docs/guide.md explains it."""
