"""Which head aligns words, and which take grammatical roles: ``python -m benchmarks.studies.alignment``.

Translators of the built-in corpus are fed the pairs of its test split; the alignment that each head's weights suggest is
compared with the known one, and its weights between words with who belongs to whom. A head is chosen on dev, judged on test.

Shapes: L layers, H heads, S source tokens, T target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pellucid
from benchmarks.studies import alignment_page, pictures, report, runs
from benchmarks.studies.alignment_page import EXAMPLE, LIMIT, PREFERS, SIDES
from benchmarks.studies.roles import PLACES, ROLES, Counts
from benchmarks.studies.words import Text, attention, by_words, read
from pellucid.data.corpus import Pair, pairs, words
from pellucid.decoding.alignment import Gold, align, error_rate

FEWEST = 50  # pairs of a role from which on it is reported
LANGUAGES = {"fr": "French", "en": "English"}


@dataclass(frozen=True)
class Sentences:
    """Pairs as a translator reads them, whichever way it translates."""

    sources: list[Text]
    targets: list[Text]
    source_tags: list[tuple[str, ...]]
    target_tags: list[tuple[str, ...]]
    gold: list[Gold]


def sentences(translator: Any, some: Sequence[Pair]) -> Sentences:
    """The pairs of the corpus in the direction of the translator."""
    longest, french = translator.config.model.max_length, translator.config.data.source == "fr"
    sides = [[read(translator.source_tokenizer, pair.french if french else pair.english, longest) for pair in some]]
    sides += [[read(translator.target_tokenizer, pair.english if french else pair.french, longest) for pair in some]]
    gold = [Gold(frozenset(link if french else link[::-1] for link in pair.alignment)) for pair in some]
    tags = [[pair.french_tags for pair in some], [pair.english_tags for pair in some]]
    return Sentences(sides[0], sides[1], tags[not french], tags[french], gold)


def error_rates(maps: Sequence[list[Tensor]], given: Sentences, *, later: int = 0) -> np.ndarray:
    """The alignment error rate of each head, (L, H).

    Args:
        maps: of each pair, of each layer, (H, T, S).
        given: the pairs.
        later: 0: a word's row is the one that wrote it; 1: the one that read it.
    """
    table = np.zeros((len(maps[0]), len(maps[0][0])))
    for layer, head in np.ndindex(*table.shape):
        found = [links(one[layer][head], source, target, later) for one, source, target in _each(maps, given)]
        table[layer, head] = error_rate(found, given.gold)
    return table


def links(weights: Tensor, source: Text, target: Text, later: int = 0) -> frozenset[tuple[int, int]]:
    """The alignment of one pair by one head, (T, S)."""
    return align(weights[later:], source.word, target.word[: len(target.word) - later])


def _each(maps: Sequence[list[Tensor]], given: Sentences) -> list[tuple[list[Tensor], Text, Text]]:
    return list(zip(maps, given.sources, given.targets, strict=True))


def without_model(given: Sentences) -> dict[str, float]:
    """Error rates that need no model: the diagonal, and the best that one link for each target word can reach."""
    sizes = [(source.count, target.count) for source, target in zip(given.sources, given.targets, strict=True)]
    diagonal = [frozenset((min(s - 1, j * s // t), j) for j in range(t)) for s, t in sizes]
    best = []
    for (_, t), gold in zip(sizes, given.gold, strict=True):
        known = {j: i for i, j in sorted(gold.sure, reverse=True)}
        best.append(frozenset((known.get(j, 0), j) for j in range(t)))
    return {"diagonal": error_rate(diagonal, given.gold), "best": error_rate(best, given.gold)}


def study(translator: Any, split: str, *, alone: bool = False) -> dict[str, Any]:
    """Error rates of all heads, and the counts of roles, on a split. ``alone``: with the means of heads, too."""
    given = sentences(translator, pairs(split))
    found = list(attention(translator, given.sources, given.targets))
    cross = [one["decoder.cross_attn"] for one in found]
    result: dict[str, Any] = {"error": error_rates(cross, given), "error reading": error_rates(cross, given, later=1)}
    if alone:
        result["mean of a layer"] = error_rates([[layer.mean(0, keepdim=True) for layer in one] for one in cross], given)[:, 0]
        result["mean of all"] = error_rates([[torch.cat(list(one)).mean(0, keepdim=True)] for one in cross], given)[0, 0]
        result.update(without_model(given))
    for kind, side in SIDES.items():
        counts = Counts(sum(len(layer) for layer in found[0][kind]), causal=side == "target")
        texts = given.sources if side == "source" else given.targets
        for one, text, tags in zip(found, texts, given.source_tags if side == "source" else given.target_tags, strict=True):
            # A row of the decoder read the token before the one that it wrote; the first read the start token.
            places = text.word if side == "source" else [None, *text.word[:-1]]
            counts.add(by_words(torch.cat(one[kind]), places, places), tags)
        result[kind] = counts
    return result


def head_name(number: int, n_heads: int) -> str:
    """Layer and head, from 0."""
    return f"{number // n_heads}.{number % n_heads}"


def main() -> None:
    given = runs.arguments("alignment", __doc__, "demo", (1, 2, 3))
    translators = {run: pellucid.load(run) for run in given.runs}
    titles = runs.titles(translators)
    dev = {titles[run]: study(one, "dev") for run, one in translators.items()}
    test = {titles[run]: study(one, "test", alone=True) for run, one in translators.items()}
    bare = runs.untrained(given.runs[0])
    before = [{"untrained": study(bare, split)} for split in ("dev", "test")]
    n_heads = next(iter(dev.values()))["error"].shape[1]
    chosen = {title: alignment_figures(dev[title], test[title]) for title in dev}
    [first, *_], [translator, *_] = dev, translators.values()
    errors_picture(given.out / "alignment-heads.svg", {title: one["error"] for title, one in test.items()}, chosen)
    example(given.out / "alignment-example.svg", translator, chosen[first]["head"])
    pictured = {kind: given.out / f"alignment-{kind.split('.')[0]}-shares.svg" for kind in SIDES}
    data = translator.config.data
    figures: dict[str, Any] = {
        "models": {titles[run]: runs.about(one) for run, one in translators.items()},
        "languages": [LANGUAGES[data.source], LANGUAGES[data.target]],
        "alignment error rate": chosen,
        "alignment error rate of each head": {title: np.round(one["error"], 4).tolist() for title, one in test.items()},
        "untrained": alignment_figures(before[0]["untrained"], before[1]["untrained"]),
        "roles": {kind: role_rows(dev, test, kind, n_heads) for kind in SIDES},
        "roles untrained": {kind: role_rows(before[0], before[1], kind, n_heads) for kind in SIDES},
        "shares of the first run": {kind: share_map(path, test[first][kind], n_heads) for kind, path in pictured.items()},
    }
    report.write(given.out, "alignment", alignment_page.values(figures), figures)


def errors_picture(path: Path, errors: dict[str, np.ndarray], chosen: dict[str, dict[str, Any]]) -> None:
    """The error rate of every head, the chosen one framed."""
    n_layers, n_heads = next(iter(errors.values())).shape
    cells = {title: one["head"].split(".") for title, one in chosen.items()}
    pictures.maps(
        path,
        {title: 100 * matrix for title, matrix in errors.items()},
        [str(layer) for layer in range(n_layers)],
        [str(head) for head in range(n_heads)],
        label="alignment error rate, %",
        high=100.0,
        colours="Blues_r",
        marked={title: [(int(layer), int(head))] for title, (layer, head) in cells.items()},
        sides=("layer", "head"),
    )


def alignment_figures(dev: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    """The head that is best on dev, and what it and others reach on test."""
    n_heads = dev["error"].shape[1]
    at, reading = int(dev["error"].argmin()), int(dev["error reading"].argmin())
    flat = test["error"].ravel()
    found = {
        "head": head_name(at, n_heads),
        "dev": float(dev["error"].flat[at]),
        "test": float(flat[at]),
        "best on test": head_name(int(flat.argmin()), n_heads),
        "next best head on test": float(np.sort(flat)[1]),
        "median head on test": float(np.median(flat)),
        "head, row that reads the word": head_name(reading, n_heads),
        "test, row that reads the word": float(test["error reading"].flat[reading]),
    }
    if "best" in test:
        found["mean of all heads"] = float(test["mean of all"])
        found["best mean of a layer"] = float(test["mean of a layer"].min())
        found |= {"diagonal": test["diagonal"], "best possible": test["best"]}
    return found


def role_rows(on_dev: dict[str, Any], on_test: dict[str, Any], kind: str, n_heads: int) -> dict[str, dict[str, Any]]:
    """For each role: of each run the head that is best on dev, and how it does on test, beside the commonest distance."""
    dev: list[Counts] = [one[kind] for one in on_dev.values()]
    test: list[Counts] = [one[kind] for one in on_test.values()]
    found: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        if min(counts.pairs[role] for counts in (*dev, *test)) < FEWEST:
            continue  # in a decoder no word can look at a later one
        heads = [int(counts.accuracy(role).argmax()) for counts in dev]
        rows: dict[str, Any] = {"pairs": test[0].pairs[role], "uniform": test[0].uniform[role] / test[0].pairs[role]}
        rows["distance"] = dev[0].commonest(role)
        rows["at the distance"] = test[0].at_distance(role, rows["distance"])
        rows["heads"] = [head_name(head, n_heads) for head in heads]
        rows["right"] = [counts.accuracy(role)[head].item() for counts, head in zip(test, heads, strict=True)]
        rows["share"] = [counts.share(role)[head].item() for counts, head in zip(test, heads, strict=True)]
        rows["by distance"] = [counts.share_by_distance(role, head) for counts, head in zip(test, heads, strict=True)]
        rows["prefers it"] = sum(
            share >= PREFERS * max(alone, rows["uniform"])
            for share, alone in zip(rows["share"], rows["by distance"], strict=True)
        )
        rows["takes the role"] = sum(right >= LIMIT * rows["at the distance"] for right in rows["right"])
        found[role] = rows
    keep = [counts.keeps_distance() for counts in test]
    found["distance"] = {
        "heads at one distance in 90 % of words": [int((share >= 0.9).sum()) for share, _ in keep],
        "which": [
            [f"{head_name(head, n_heads)} at {offsets[head]:+d}" for head in torch.nonzero(share >= 0.9)[:, 0].tolist()]
            for share, offsets in keep
        ],
    }
    return found


def share_map(path: Path, counts: Counts, n_heads: int) -> dict[str, list[float]]:
    """The picture of where each head's weight goes, in hundredths; and the numbers."""
    places = [place for place in PLACES if not (counts.causal and place == "the word after")]
    names = [*places, *(role for role in ROLES if counts.pairs[role] >= FEWEST)]
    shares = {name: (100 * counts.share(name)).tolist() for name in names}
    pictures.maps(
        path,
        {"": np.array(list(shares.values())).T},
        [head_name(head, n_heads) for head in range(counts.heads)],
        names,
        label="mean share of the weight, %",
        high=100.0,
        cell=(0.55, 0.3),
        sides=("layer.head", ""),
    )
    return {name: [round(share, 2) for share in some] for name, some in shares.items()}


def example(path: Path, translator: Any, head: str) -> None:
    """The map of one sentence of the teaching split by one head, the known links framed."""
    [pair] = [pair for pair in pairs("teaching") if pair.french == EXAMPLE]
    given = sentences(translator, [pair])
    [found] = attention(translator, given.sources, given.targets)
    layer, number = map(int, head.split("."))
    source, target = given.sources[0], given.targets[0]
    weights = by_words(found["decoder.cross_attn"][layer][number][None], target.word, source.word)[0]
    french = translator.config.data.source == "fr"
    of_source, of_target = words(pair.french if french else pair.english), words(pair.english if french else pair.french)
    title = f"head {head}"
    frames = [(j, i) for i, j in given.gold[0].sure]
    columns = [*of_source, "end"]
    panels, marked = {title: 100 * weights.numpy()}, {title: frames}
    pictures.maps(
        path, panels, of_target, columns, label="weight, %", high=100.0, marked=marked, sides=("written", "looked at")
    )


if __name__ == "__main__":
    main()
