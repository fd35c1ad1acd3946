"""`python -m orderflow.demo [--smoke]`."""

import asyncio
import sys

import click

from orderflow.demo.flow import demo, smoke
from orderflow.demo.signals import until_signalled
from orderflow.exits import CANNOT_START, OrderflowError
from orderflow.start.settings import SettingError

_INTERRUPTED = 130


@click.command()
@click.option("--smoke", "without_person", is_flag=True, help="Check that what was published is answered, then stop.")
def main(*, without_person: bool) -> None:
    """Start everything, publish 50 orders, and run until Ctrl-C."""
    try:
        cut_short = asyncio.run(until_signalled(smoke() if without_person else demo()))
    except SettingError as error:
        click.echo(f"orderflow: {error}", err=True)
        sys.exit(CANNOT_START)
    except OrderflowError as error:
        click.echo(f"orderflow: {error}", err=True)
        sys.exit(error.exit_code)
    if cut_short and without_person:
        sys.exit(_INTERRUPTED)  # a check that was not made has not passed


if __name__ == "__main__":
    main()
