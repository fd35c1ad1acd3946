"""The subcommands of `orderflow`, one per file."""
