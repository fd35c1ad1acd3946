"""The processes of an engine: the supervisor, its workers, and what they tell of each other."""
