"""What a pronoun looks at as training proceeds, and whether it comes out right: ``python -m benchmarks.studies.pronouns``.

English says "it" where French must say *il* or *elle*, by the gender of the noun that is meant. The translators go from English
to French; the weights that training kept on the way are looked at one after the other.

Shapes: L layers, H heads.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pellucid
from benchmarks.studies import report, runs
from benchmarks.studies.heads import heads, kind, without
from benchmarks.studies.pronouns_page import BOOK, BOOK_TURNED, plain, values
from benchmarks.studies.pronouns_pictures import draw
from benchmarks.studies.pruning_page import KINDS
from benchmarks.studies.sentences import SWAPPED, Reference, animals, fresh_references, fresh_taught, references
from benchmarks.studies.words import Text, attention, by_words, read
from pellucid.base.progress import say
from pellucid.data.corpus import words
from pellucid.explain.edits import Patch
from pellucid.explain.trace import Trace
from pellucid.tasks.pairs import PairBatch, from_texts

MINIMAL = (("tasty", "hot"), ("tired", "wide"), ("big", "small"))  # what decides, in the pairs of the teaching split
ROWS = 50


@dataclass(frozen=True)
class Asked:
    """Sentences as a translator reads them, with the right pronoun and the other one.

    Args:
        some: the sentences.
        batches: of them, in their order.
        places: of each, the row of the logits that writes the pronoun.
        right, wrong: ids of both pronouns.
    """

    some: list[Reference]
    batches: list[PairBatch]
    places: list[int]
    right: list[int]
    wrong: list[int]


def asked(translator: Any, some: Sequence[Reference]) -> Asked:
    """The places where the two French sentences part."""
    tokenizer, longest = translator.target_tokenizer, translator.config.model.max_length
    places, right, wrong = [], [], []
    for one in some:
        ids, others = tokenizer.encode(one.french), tokenizer.encode(one.swapped)
        place = next(at for at, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1])
        places.append(place)
        right.append(ids[place])
        wrong.append(others[place])
    sides = (translator.source_tokenizer, tokenizer)
    pairs = [(one.english, one.french) for one in some]
    return Asked(list(some), list(from_texts(pairs, sides, longest, rows=ROWS)), places, right, wrong)


@torch.inference_mode()
def probabilities(model: Any, given: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Of each sentence, the probability of the right pronoun and of the other one after the right beginning."""
    found = []
    for batch in given.batches:
        logits = model.eval()(batch.source, batch.target_input, source_mask=batch.source_mask)
        found += list(torch.log_softmax(logits.double(), -1).exp())  # (T, V) each
    right, wrong = (
        np.array([some[place, token].item() for some, place, token in zip(found, given.places, tokens, strict=True)])
        for tokens in (given.right, given.wrong)
    )
    return right, wrong


def choice(model: Any, given: Asked) -> dict[str, float]:
    """How often the right pronoun is the more probable one, and the mean probability of both."""
    right, wrong = probabilities(model, given)
    return {"right": float((right > wrong).mean()), "p(right)": float(right.mean()), "p(other)": float(wrong.mean())}


def without_model(some: Sequence[Reference]) -> dict[str, float]:
    """What simple rules would choose: how often each is right."""
    first = statistics.mean(one.antecedent < one.other for one in some)
    commonest = Counter(one.pronoun for one in some).most_common(1)[0]
    return {"first noun": first, "nearest noun": 1 - first, f"always {commonest[0]}": commonest[1] / len(some)}


def looks(translator: Any, some: Sequence[Reference]) -> dict[str, np.ndarray]:
    """What "it" gives to each of `LOOKED_AT` in the encoder, and what the row that writes the pronoun gives to them in
    cross-attention (there "itself" is "it"): the mean over sentences, (4, L, H) each."""
    longest = translator.config.model.max_length
    sources = [read(translator.source_tokenizer, one.english, longest) for one in some]
    targets = [read(translator.target_tokenizer, one.french, longest) for one in some]
    sums: dict[str, Any] = {"encoder.self_attn": 0.0, "decoder.cross_attn": 0.0}
    for one, source, target, found in zip(some, sources, targets, attention(translator, sources, targets), strict=True):
        for name, asks, row in (("encoder.self_attn", source, one.it), ("decoder.cross_attn", target, one.place)):
            weights = torch.stack([by_words(layer, asks.word, source.word)[:, row] for layer in found[name]])  # (L, H, K + 1)
            places = [one.antecedent, one.other, one.quality, one.it]
            sums[name] = sums[name] + weights[:, :, places].permute(2, 0, 1).numpy()
    return {name: total / len(some) for name, total in sums.items()}


def patched(translator: Any, one: Reference, other: Reference) -> dict[str, Any]:
    """How far the choice of one sentence moves to that of another when one word's vector comes from there, 0 to 1.

    Both agree word by word, but for one. What moves is the difference of the logits of *elle* and *il*, after the French
    beginning of the first.
    """
    tokenizer, longest = translator.source_tokenizer, translator.config.model.max_length
    one_text, other_text = (read(tokenizer, some.english, longest) for some in (one, other))
    names = ["encoder.embed.out", *(f"encoder.layers.{layer}.out" for layer in range(len(translator.model.encoder.layers)))]
    own = asked(translator, [one])
    traces = {
        some.english: translator.explain(some.english, output=one.french, taps=[*names, "logits"]) for some in (one, other)
    }
    elle = own.right[0] if one.pronoun == "elle" else own.wrong[0]
    il = own.wrong[0] if one.pronoun == "elle" else own.right[0]

    def lean(trace: Trace) -> float:
        row = np.asarray(trace["logits"])[own.places[0]]
        return float(row[elle] - row[il])

    before, goal = lean(traces[one.english]), lean(traces[other.english])
    own_words, other_words = words(one.english), words(other.english)
    shown = [
        at for at in range(min(len(own_words), len(other_words))) if _one_token(one_text, at) and _one_token(other_text, at)
    ]
    shown = [at for at in shown if at >= 1]
    moved = np.zeros((len(shown), len(names)))
    for row, at in enumerate(shown):
        for column, name in enumerate(names):
            edit = Patch(name, one_text.word.index(at), traces[other.english], of=other_text.word.index(at))
            trace = translator.explain(one.english, output=one.french, taps=["logits"], edits=[edit])
            moved[row, column] = (lean(trace) - before) / (goal - before)
    labels = [w if w == o else f"{w} / {o}" for w, o in ((own_words[at], other_words[at]) for at in shown)]
    return {"words": labels, "moved": moved, "il to elle before": before, "in the other": goal, "it": shown.index(one.it)}


def _one_token(text: Text, word: int) -> bool:
    return text.word.count(word) == 1


def with_the_book(translator: Any) -> dict[str, Any]:
    """What "with" and its noun look at: in the sentence, with the people turned round, and on average over others."""
    longest = translator.config.model.max_length
    some = list(fresh_taught())
    sources = [read(translator.source_tokenizer, one.english, longest) for one in some]
    targets = [read(translator.target_tokenizer, one.french, longest) for one in some]
    total: Any = 0.0
    for one, source, found in zip(some, sources, attention(translator, sources, targets), strict=True):
        weights = torch.stack([by_words(layer, source.word, source.word) for layer in found["encoder.self_attn"]])
        total = total + weights[:, :, [one.with_, one.thing]][..., [one.teacher, one.verb, one.pupil]].numpy()  # (L, H, 2, 3)
    result: dict[str, Any] = {"sentences": len(some), "mean": total / len(some)}
    for name, (english, french) in (("sentence", BOOK), ("turned", BOOK_TURNED)):
        source, target = (
            read(translator.source_tokenizer, english, longest),
            read(translator.target_tokenizer, french, longest),
        )
        [found] = attention(translator, [source], [target])
        weights = torch.stack([by_words(layer, source.word, source.word) for layer in found["encoder.self_attn"]])
        at = words(english)
        places = [at.index("teacher"), at.index("taught"), at.index("student")]
        result[name] = weights[:, :, [at.index("with"), at.index("book")]][..., places].numpy()
        result[f"{name} in French"] = translator.translate([english], beams=1)[0]
    return result


def patched_animals(translator: Any) -> dict[str, Any]:
    """The same with another animal, of the other gender: the mean over pairs of animals."""
    some = animals()
    pairs = zip((one for one in some if one.pronoun == "il"), (one for one in some if one.pronoun == "elle"), strict=False)
    found = [patched(translator, *pair) for pair in pairs]
    moved = np.mean([one["moved"] for one in found], axis=0)
    labels = ["animal" if " / " in label else label for label in found[0]["words"]]
    means = {key: statistics.mean(one[key] for one in found) for key in ("il to elle before", "in the other")}
    return {"words": labels, "moved": moved, "it": found[0]["it"], "pairs": len(found), **means}


def two_sources(translator: Any) -> dict[str, Any]:
    """Where the gender comes from: the share of *elle* when the animal of the English sentence and that of the French beginning
    are of one gender or another, over all animals of the lexicon; the mean by (English, French)."""
    some = animals()
    found = {}
    for english, french in (("f", "f"), ("f", "m"), ("m", "f"), ("m", "m")):
        mixed = [
            replace(one, english=other.english)
            for one in some
            for other in some
            if _gender(one) == french and _gender(other) == english and (one is other or english != french)
        ]
        given = asked(translator, mixed)
        found[f"{english}{french}"] = float(np.mean(_of_elle(given, *probabilities(translator.model, given))))
    return {"animals": len(some), "share of elle": found}


def _gender(one: Reference) -> str:
    return "f" if one.pronoun == "elle" else "m"


def study(run: Path, name: str) -> dict[str, Any]:
    """All figures of a run."""
    translator = pellucid.load(run)
    fresh = fresh_references()
    half, rest = fresh[::2], fresh[1::2]
    sets = {"teaching": references("teaching"), "test": references("test"), "fresh": fresh}
    given = {split: asked(translator, some) for split, some in sets.items()}
    steps: dict[str, Any] = {"step": []}
    for step, weights in runs.kept(run):
        say(f"{name}: step {step}")
        runs.with_weights(translator, weights)
        steps["step"].append(step)
        for split, one in given.items():
            steps.setdefault(split, []).append(choice(translator.model, one))
        steps.setdefault("p(elle)", []).append(_of_elle(given["teaching"], *probabilities(translator.model, given["teaching"])))
        steps.setdefault("by pattern", []).append(_by_pattern(given["fresh"], *probabilities(translator.model, given["fresh"])))
        outputs = translator.translate([one.english for one in rest], beams=1)
        written = [_written(one, text) for one, text in zip(rest, outputs, strict=True)]
        steps.setdefault("written", []).append({key: written.count(key) / len(rest) for key in ("right", "wrong", "neither")})
        steps.setdefault("looks", []).append({part: looks(translator, some) for part, some in (("half", half), ("rest", rest))})
    base = choice(translator.model, given["fresh"])["right"]
    say(f"{name}: each head alone")
    lost = {}
    for head in heads(translator.model):
        with without(translator.model, [head]):
            lost[str(head)] = base - choice(translator.model, given["fresh"])["right"]
    turned = {tuple(deciding): _minimal(sets["teaching"], deciding) for deciding in MINIMAL}
    return {
        "sentences": {split: len(some) for split, some in sets.items()},
        "rules": {split: without_model(some) for split, some in sets.items()},
        "steps": steps,
        "right lost without the head": lost,
        "kinds": {sort: [lost[str(h)] for h in heads(translator.model) if kind(h) == sort] for sort in KINDS},
        "patched": {" / ".join(deciding): patched(translator, *pair) for deciding, pair in turned.items()},
        "patched animals": patched_animals(translator),
        "two sources": two_sources(translator),
        "with the book": with_the_book(translator),
        "about": runs.about(translator),
    }


def _of_elle(given: Asked, right: np.ndarray, wrong: np.ndarray) -> list[float]:
    """p(elle) / (p(elle) + p(il)) of each sentence."""
    shares = right / (right + wrong)
    return [float(share if one.pronoun == "elle" else 1 - share) for one, share in zip(given.some, shares, strict=True)]


def _by_pattern(given: Asked, right: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """How often the right pronoun is the more probable one, by pattern and by whether the first noun is meant."""
    kinds = [f"{one.pattern}: the {'first' if one.antecedent < one.other else 'second'} noun" for one in given.some]
    found = {name: (right > wrong)[[kind_ == name for kind_ in kinds]] for name in sorted(set(kinds))}
    return {f"{name} ({len(hits)})": float(hits.mean()) for name, hits in found.items()}


def _written(one: Reference, text: str) -> str:
    found = [word for word in words(text) if word in SWAPPED] if text else []
    if found == [one.pronoun]:
        return "right"
    return "wrong" if found == [SWAPPED[one.pronoun]] else "neither"


def _minimal(some: Sequence[Reference], deciding: Sequence[str]) -> tuple[Reference, Reference]:
    first, second = (next(one for one in some if words(one.english)[one.quality] == word) for word in deciding)
    return first, second


def main() -> None:
    given = runs.arguments("pronouns", __doc__, "demo-en-fr", (1, 2))
    titles = runs.titles({run: pellucid.load(run) for run in given.runs})
    found = {titles[run]: study(run, titles[run]) for run in given.runs}
    draw(given.out, found)
    report.write(given.out, "pronouns", values(found), {"runs": plain(found)})


if __name__ == "__main__":
    main()
