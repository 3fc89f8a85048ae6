"""``pellucid vectors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pellucid.cli.options import common


@click.command()
@click.argument("source", metavar="FILE|RUN", type=click.Path(path_type=Path))
@click.option("--neighbours", multiple=True, metavar="WORD", help="The nearest words of WORD, with their cosines.")
@click.option("--analogy", nargs=3, metavar="A B C", help="The words that are to C as B is to A (3CosAdd).")
@click.option(
    "--similarity",
    multiple=True,
    metavar="PAIRS",
    type=click.Path(path_type=Path),
    help="Rank correlation with people's scores of word pairs: a file as WS-353's or SimLex-999's.",
)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="Words to show.")
@click.option("--first", type=click.IntRange(1), metavar="N", help="Only the first N words of FILE.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the vectors as word2vec does: text, or binary if it ends in .bin."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@common
def vectors(
    source: Path,
    neighbours: tuple[str, ...],
    analogy: tuple[str, str, str] | None,
    similarity: tuple[Path, ...],
    count: int,
    first: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Ask word vectors: those of a FILE (word2vec's, GloVe's, fastText's .vec; .bin is binary) or of a RUN that learnt some.

    Without options the number of words and the width are printed.
    """
    from pellucid.base.progress import say
    from pellucid.data.vector_files import write_vectors
    from pellucid.data.word_pairs import read_word_pairs
    from pellucid.tasks import comparing

    pairs = {path: read_word_pairs(path) for path in similarity}
    only_pairs = bool(pairs) and not (neighbours or analogy or out)
    asked = {form for some in pairs.values() for one in some for word in one[:2] for form in (word, word.lower())}
    found, look = _open(source, asked if only_pairs else None, first)
    for path, some in pairs.items():
        result = comparing.similarity(look, some)
        known = None if result.correlation != result.correlation else result.correlation  # JSON has no "not a number"
        line = f"{path}\t{result.correlation:.4f}\t{result.covered} of {result.pairs} pairs"
        _print(line, {"pairs": str(path), "spearman": known, "covered": result.covered, "of": result.pairs}, as_json)
    for word in neighbours:
        _print_words(word, comparing.neighbours(found, look, word, count), as_json)
    if analogy:
        _print_words(" ".join(analogy), comparing.analogies(found, look, analogy, count), as_json)
    if out is not None:
        write_vectors(out, found)
        say(f"wrote {len(found):,} vectors to {out}")
    if not (pairs or neighbours or analogy or out):
        _print(f"{len(found):,} words, {found.width} numbers each", {"words": len(found), "width": found.width}, as_json)


def _open(source: Path, wanted: set[str] | None, first: int | None) -> tuple[Any, Any]:
    """The vectors of a file or of a run, and what gives the vector of a word; only a run needs torch."""
    if not source.is_dir():
        from pellucid.data.vector_files import read_vectors

        found = read_vectors(source, wanted, first=first)
        return found, found.get
    if first is not None:
        raise click.UsageError("--first is for files")
    from pellucid.tasks.word_vectors import load_vectors

    model = load_vectors(source)
    return model.vectors, model.vector


def _print_words(asked: str, found: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        _print("", {"asked": asked, "found": [{"word": word, "cosine": value} for word, value in found]}, as_json)
        return
    for word, value in found:
        click.echo(f"{asked}\t{word}\t{value:.4f}")


def _print(line: str, content: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(content, ensure_ascii=False) if as_json else line)
