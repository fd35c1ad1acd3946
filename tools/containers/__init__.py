"""`make containers`: builds the images, runs the compose file on a Docker engine, and breaks what may break there."""
