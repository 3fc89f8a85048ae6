"""``pellucid data``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common

BUILTIN = "builtin"


@click.command()
@click.argument("name", required=False)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Take the files from this folder instead of the network."
)
@click.option("--out", type=click.Path(path_type=Path), help="builtin: write its splits here as tab-separated files.")
@common
def data(name: str | None, source: Path | None, out: Path | None) -> None:
    """Fetch a public corpus by NAME, or list those that are known. ``builtin`` is the corpus that pellucid generates."""
    if (out is None) == (name == BUILTIN):
        raise click.UsageError("--out DIR says where the built-in corpus goes: it belongs to builtin, and only to it")
    if source is not None and name in (None, BUILTIN):
        raise click.UsageError("--from belongs to the name of a public corpus")
    if out is not None:
        _write_builtin(out)
    elif name is None:
        _list()
    else:
        _fetch(name, source)


def _list() -> None:
    from pellucid.data.public_sets import PUBLIC_SETS

    click.echo(f"{BUILTIN}  French-English sentence pairs, generated; no download")
    for known in PUBLIC_SETS.values():
        click.echo(f"{known.name}  {known.what}; licence: {known.licence}")


def _fetch(name: str, source: Path | None) -> None:
    from pellucid.base.progress import say
    from pellucid.data.public_sets import fetch, public_set

    known = public_set(name)
    address = known.address or "none; only from a local copy (--from DIR)"
    say(f"{known.name}: {known.what}\nlicence: {known.licence}\naddress: {address}")
    click.echo(fetch(name, source=source))


def _write_builtin(directory: Path) -> None:
    from pellucid.base.files import write_atomically
    from pellucid.data import corpus

    directory.mkdir(parents=True, exist_ok=True)
    for split in corpus.SPLITS:
        pairs = corpus.pairs(split)
        text = "".join(f"{pair.french}\t{pair.english}\n" for pair in pairs)
        write_atomically(directory / f"{split}.tsv", text.encode())
        click.echo(f"{directory / split}.tsv\t{len(pairs)} pairs")
