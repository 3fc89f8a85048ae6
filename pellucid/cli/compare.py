"""``pellucid compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.compare.experiment import Effort


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the report: NAME.html, NAME.md and NAME.svg.")
@click.option("--quick", is_flag=True, help="Minutes in place of up to an hour: smaller networks, fewer seeds.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The first seed.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: the cores that may be used.")
@common
def compare(name: str | None, out: Path | None, quick: bool, seed: int, threads: int | None) -> None:
    """Put a claim about networks to the test; without NAME, list the claims.

    Runs the experiment, and writes a report with set-up, figures, plot and verdict.
    """
    from pellucid.compare.registry import LIST, experiment

    if name is None:
        for each, listed in LIST.items():
            click.echo(f"{each:<14}{listed.line} (about {_minutes(listed.full)}, --quick {_minutes(listed.quick)})")
        return
    if name not in LIST:
        experiment(name)  # says so
    if out is None:
        raise click.UsageError("give a folder for the report: --out DIR")
    _run(name, out, quick, seed, threads)


def _minutes(count: int) -> str:
    return f"{count} minute{'' if count == 1 else 's'}"


def _run(name: str, out: Path, quick: bool, seed: int, threads: int | None) -> None:
    from pellucid.base.errors import UsageError
    from pellucid.base.plots import require_matplotlib
    from pellucid.base.progress import say
    from pellucid.compare.registry import LIST, experiment

    require_matplotlib()  # before the work, not after it
    if out.exists() and not out.is_dir():
        raise UsageError("a report needs a folder", where=out, found="a file", advice="give --out another name")
    if not quick:
        say(f"{name} takes about {_minutes(LIST[name].full)} on one core; --quick about {_minutes(LIST[name].quick)}")
    import torch

    from pellucid.base.runtime import available_cores
    from pellucid.compare.machine import machine
    from pellucid.compare.report import Report, write

    torch.set_num_threads(threads or available_cores())
    effort: Effort = "quick" if quick else "full"
    chosen = experiment(name)
    report = Report(chosen, chosen.run(effort, seed), effort, seed, machine())
    paths = write(report, out)
    click.echo(f"{name}: {report.judged()[0]}")
    for path in paths:
        say(f"wrote {path}")
