"""`orderflow` and `python -m orderflow`. Handles Ctrl-C from here on, also while other modules are imported."""

import sys

from orderflow.exits import INTERRUPTED


def main() -> None:
    """Run the command line."""
    try:
        from orderflow.cli import run  # noqa: PLC0415 (importing takes long enough to be interrupted)

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
