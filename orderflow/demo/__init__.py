"""The whole system on one machine without Docker: `make demo` for a person, `make smoke` as an automatic check."""
