"""The options that every verb has, or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pellucid.base.progress import set_quiet

DEBUG = "--debug"

voters = click.option(
    "--ensemble",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Let this model vote, too; several times.",
)


def _set_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        set_quiet(True)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--quiet`` and ``--debug``."""
    quiet = click.option(
        "--quiet", is_flag=True, expose_value=False, callback=_set_quiet, help="No progress, no messages; errors are shown."
    )
    debug = click.option(DEBUG, is_flag=True, expose_value=False, help="Show the traceback of an error.")
    return quiet(debug(command))
