"""The moving picture of the README: `make demo` in a real terminal, and the page in a real browser."""
