"""The stages of a worker, from the source to the writer."""
