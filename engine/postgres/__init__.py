"""The connection to PostgreSQL, the offsets in it, and the rows of a batch."""
