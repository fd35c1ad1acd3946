"""`orderflow` and `python -m orderflow`. Handles Ctrl-C from here on, also while other modules are imported."""

import sys

from orderflow.exits import INTERRUPTED


def main() -> None:
    """Run the command line."""
    try:
        # Importing takes long enough to be interrupted.
        from orderflow.start.unused_imports import block_unused_imports  # noqa: PLC0415

        block_unused_imports()
        from orderflow.cli import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
