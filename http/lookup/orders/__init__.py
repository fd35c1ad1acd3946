"""Orders over HTTP: lookup, lists, search and story."""
