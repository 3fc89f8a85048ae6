"""The command ``pellucid``: verbs, exit codes, and what becomes of an error."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from pellucid import __version__
from pellucid.base.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    MemoryLimitError,
    PellucidError,
    StorageError,
)
from pellucid.base.progress import set_quiet
from pellucid.cli.caption import caption
from pellucid.cli.classify import classify
from pellucid.cli.compare import compare
from pellucid.cli.data import data
from pellucid.cli.evaluate import evaluate
from pellucid.cli.explain import explain
from pellucid.cli.export import export
from pellucid.cli.fill import fill
from pellucid.cli.generate import generate
from pellucid.cli.import_ import import_
from pellucid.cli.info import info
from pellucid.cli.look import look
from pellucid.cli.options import DEBUG, common
from pellucid.cli.plot import plot
from pellucid.cli.tag import tag
from pellucid.cli.train import train
from pellucid.cli.translate import translate
from pellucid.cli.vectors import vectors


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pellucid")
@common
def pellucid() -> None:
    """The Transformer, clear enough to see through: train it, use it, look inside it."""


_USING = (translate, generate, classify, fill, tag, caption, vectors)
for _verb in (train, *_USING, evaluate, explain, look, info, plot, compare, data, import_, export):
    pellucid.add_command(_verb)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 a bug of ours, 2 usage or configuration, 3 data, 4 model or
    checkpoint, 5 training diverged, 6 out of memory, 130 interrupted, 143 terminated."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # texts are UTF-8 whatever the locale says
    try:
        sys.exit(_run(sys.argv[1:] if arguments is None else arguments))
    finally:
        set_quiet(False)  # --quiet is for one command: who calls us from Python may go on


class _Terminated(BaseException):
    """SIGTERM has come. Like KeyboardInterrupt no Exception, so that nothing on its way takes it for a mistake."""


@contextmanager
def _terminable() -> Iterator[None]:
    """While entered, SIGTERM stops as Ctrl-C does: what is being written aside is removed, and whole lines are delivered."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str]) -> int:
    """Call the verb and see that its output is delivered; gives the exit code."""
    debug = DEBUG in arguments
    try:
        with _terminable():
            code = _call(arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough
        code = EXIT_DONE
    except (Exception, KeyboardInterrupt, _Terminated) as error:
        code = _stopped(error) or _report(error, debug)
    _deliver()
    return code


def _call(arguments: list[str]) -> int:
    # Not through the group's main(), which makes an exit of its own of a broken pipe.
    try:
        with pellucid.make_context("pellucid", arguments) as context:
            pellucid.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return EXIT_DONE


def _deliver() -> None:
    """Bring out what was written; what can't be is thrown away, or the interpreter would complain once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stopped(error: BaseException) -> int | None:
    """The exit code if a signal stopped us, also where a library on the way made an error of its own of that."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (KeyboardInterrupt, _Terminated)):
            interrupted = isinstance(seen, KeyboardInterrupt)
            print("interrupted" if interrupted else "terminated", file=sys.stderr)
            return EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED
        seen = seen.__cause__ or seen.__context__
    return None


def _report(error: BaseException, debug: bool) -> int:
    """Show an error and give its exit code."""
    if debug:
        traceback.print_exception(error)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int) and not isinstance(error, PellucidError):  # stopped by a signal, in good order
        print(error, file=sys.stderr)
        return exit_code
    known = _explained(error)
    if known is not None:
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    print(f"error: a bug in pellucid, not your mistake: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"  do next:  run it again with {DEBUG} and report what it prints", file=sys.stderr)
    return EXIT_BUG


def _explained(error: BaseException) -> PellucidError | None:
    """An error that is not a bug of ours, in the words for users."""
    if isinstance(error, PellucidError):
        return error
    if isinstance(error, OSError):  # no room, no permission, a broken disk: wherever a file is touched
        return StorageError(error.strerror or str(error), where=error.filename)
    # PyTorch's allocators raise their own class for GPUs, and a plain RuntimeError for the processor.
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "can't allocate memory" in str(error):
        return MemoryLimitError("out of memory", found=str(error) or None, advice="work on less at once")
    return None


if __name__ == "__main__":
    main()
