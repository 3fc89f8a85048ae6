"""The command ``pellucid``: verbs, exit codes, and what becomes of an error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from pellucid import __version__
from pellucid.base.errors import EXIT_BUG, EXIT_INTERRUPTED, MemoryLimitError, PellucidError
from pellucid.base.progress import set_quiet

_debug = False


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    global _debug
    _debug = _debug or value


def _set_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        set_quiet(True)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb has."""
    quiet = click.option(
        "--quiet", is_flag=True, expose_value=False, callback=_set_quiet, help="No progress, no messages; errors are shown."
    )
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
    )
    return quiet(debug(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pellucid")
@common
def pellucid() -> None:
    """The Transformer, clear enough to see through: train it, use it, look inside it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 a bug of ours, 2 usage or configuration, 3 data, 4 model or
    checkpoint, 5 training diverged, 6 out of memory, 130 interrupted, 143 terminated."""
    # Imported here, since each verb registers itself on the group above.
    from pellucid.cli import data, evaluate, info, plot, train, translate

    for verb in (train.train, translate.translate, evaluate.evaluate, info.info, plot.plot, data.data):
        pellucid.add_command(verb)
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        pellucid.main(args=arguments, prog_name="pellucid", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough. The interpreter would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report(error)
    return 0


def _report(error: Exception) -> int:
    """Show an error and give its exit code."""
    if _debug:
        traceback.print_exc()
    exit_code = getattr(error, "exit_code", None)
    if isinstance(error, PellucidError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(exit_code, int):  # stopped by a signal, in good order
        print(error, file=sys.stderr)
        return exit_code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        print(f"error: out of memory: {error}", file=sys.stderr)
        return MemoryLimitError.exit_code
    print(f"error: a bug in pellucid, not your mistake: {type(error).__name__}: {error}", file=sys.stderr)
    print("  do next:  run it again with --debug and report what it prints", file=sys.stderr)
    return EXIT_BUG


if __name__ == "__main__":
    main()
