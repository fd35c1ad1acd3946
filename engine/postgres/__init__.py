"""The connection to PostgreSQL, the stored offsets, and the rows of a batch."""
