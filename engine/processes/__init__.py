"""The processes of an engine: the supervisor, its workers, and the heartbeats between them."""
