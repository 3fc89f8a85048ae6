"""``pellucid info``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@common
def info(path: Path | None) -> None:
    """Say what PATH is (a recipe, a run, a model, or a folder of runs), or without PATH what this machine offers."""
    if path is None:
        _print(_machine())
        return
    from pellucid.tasks import overview

    if path.suffix in (".yaml", ".yml"):
        _print(overview.of_recipe(path))
    elif runs := overview.folder_of_runs(path):
        from pellucid.tasks.runs_table import table_of

        for line in table_of(runs):
            click.echo(line)
    else:
        _print(overview.of_run_or_model(path))


def _print(lines: Iterable[tuple[str, str]]) -> None:
    for name, value in lines:
        click.echo(f"{name:<14}{value}")


def _machine() -> list[tuple[str, str]]:
    import shutil

    from pellucid import __version__
    from pellucid.base import machine
    from pellucid.tasks.overview import machine_lines

    versions = machine.versions()
    memory = machine.free_memory()
    return [
        ("pellucid", __version__),
        ("python", versions.pop("python")),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items())),
        *machine_lines(),
        ("memory", "not known" if memory is None else f"{machine.in_bytes(memory)} free"),
        ("disk", f"{machine.in_bytes(shutil.disk_usage('.').free)} free here"),
        *(("missing", line) for line in machine.missing()),
    ]
