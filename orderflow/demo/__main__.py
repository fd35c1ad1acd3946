"""`python -m orderflow.demo [--smoke]`."""

import asyncio
import sys

import click

from orderflow.demo.flow import demo, smoke
from orderflow.demo.signals import until_signalled
from orderflow.exits import CANNOT_START, OrderflowError
from orderflow.start.named import with_values
from orderflow.start.settings import SettingError

_INTERRUPTED = 130


@click.command()
@click.option("--smoke", "smoke_test", is_flag=True, help="Check that the published orders are answered, then stop.")
def main(*, smoke_test: bool) -> None:
    """Start everything, publish 50 orders, and run until Ctrl-C."""
    try:
        interrupted = asyncio.run(until_signalled(smoke() if smoke_test else demo()))
    except SettingError as error:
        click.echo(f"orderflow: {error}", err=True)
        sys.exit(CANNOT_START)
    except OrderflowError as error:
        click.echo(f"orderflow: {with_values(str(error))}", err=True)
        sys.exit(error.exit_code)
    if interrupted and smoke_test:
        sys.exit(_INTERRUPTED)  # an incomplete check has not passed


if __name__ == "__main__":
    main()
