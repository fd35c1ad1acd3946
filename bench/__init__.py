"""The benchmark: measures several contestants on real services, in interleaved rounds. Run it with `make bench`."""
