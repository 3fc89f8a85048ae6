"""``pellucid train``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pellucid.cli.options import common


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the run; a run that is there goes on.")
@click.option("--print_config", is_flag=True, help="Print the resolved configuration as YAML and stop.")
@click.option("--profile", is_flag=True, help="Record a few steps into the run's profile/: a trace, and the dearest operators.")
@common
def train(recipe: Path, overrides: tuple[str, ...], out: Path | None, print_config: bool, profile: bool) -> None:
    """Train a model as RECIPE (a YAML file) says. OVERRIDES change single values: training.steps=500 model.dropout=0.3"""
    from pellucid.base.recipe import read, to_yaml

    config = read(recipe, overrides)
    if print_config:
        click.echo(to_yaml(config), nl=False)
        return
    if out is None:
        raise click.UsageError("say where the run goes: --out runs/NAME")
    if profile:  # torch's profiler tells of itself on stderr, and looks for this when torch is imported
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from pellucid.tasks.train import train as run

    run(config, out, profile=profile, command=["pellucid", "train", str(recipe), *overrides, "--out", str(out)])
