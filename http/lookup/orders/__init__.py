"""Orders over HTTP: looked up, listed, searched, and their story."""
