"""The benchmark: real services, contestants interleaved in rounds, one table. Run it with `make bench`."""
