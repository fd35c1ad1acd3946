"""The subcommands of `orderflow`, one a file."""
