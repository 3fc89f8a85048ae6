"""``pellucid data``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.main import common


@click.command()
@click.argument("name", required=False)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Take the files from this folder instead of the network."
)
@click.option("--out", type=click.Path(path_type=Path), help="builtin: write its splits here as tab-separated files.")
@common
def data(name: str | None, source: Path | None, out: Path | None) -> None:
    """Fetch a public corpus by NAME, or list those that are known. ``builtin`` is the corpus that pellucid generates."""
    from pellucid.data import public_sets

    if name is None:
        click.echo("builtin  French-English sentence pairs, generated; no download")
        for known in public_sets.PUBLIC_SETS.values():
            click.echo(f"{known.name}  {known.what}; licence: {known.licence}")
    elif name == "builtin":
        if out is None:
            raise click.UsageError("say where the built-in corpus goes: --out DIR")
        _write_builtin(out)
    else:
        known = public_sets.public_set(name)
        click.echo(f"{known.name}: {known.what}\nlicence: {known.licence}\naddress: {known.address}", err=True)
        click.echo(public_sets.fetch(name, source=source))


def _write_builtin(directory: Path) -> None:
    from pellucid.base.files import write_atomically
    from pellucid.data import corpus

    directory.mkdir(parents=True, exist_ok=True)
    for split in corpus.SPLITS:
        pairs = corpus.pairs(split)
        text = "".join(f"{pair.french}\t{pair.english}\n" for pair in pairs)
        write_atomically(directory / f"{split}.tsv", text.encode())
        click.echo(f"{directory / split}.tsv\t{len(pairs)} pairs")
