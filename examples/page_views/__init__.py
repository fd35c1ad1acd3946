"""Page views: writes JSON messages of a topic into a table. The names are in names.py. docs/guide.md explains it."""
