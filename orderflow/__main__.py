"""`python -m orderflow`: the same as the command `orderflow`."""

from orderflow.cli import main

main()
