"""BLEU on Multi30k as Wu et al. (2021) measure it, and as all can compare: ``python -m benchmarks.multi30k RUN``.

Theirs: text lower-cased and tokenised with Moses, BLEU counted on those tokens. Beside it: the same in the tokens of spaCy's
blank tokenizer, which public notebooks count in, and sacreBLEU on detokenised text, with its signature, cased and lower-cased.
The run is one of ``recipes/multi30k-*.yaml``; their settings were chosen on the dev split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pellucid
from benchmarks import machine
from pellucid.data.readers import open_split
from pellucid.text.metrics import bleu


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multi30k", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="directory of a finished run")
    parser.add_argument("--split", default="test", help="test: test_2016_flickr; dev: val")
    given = parser.parse_args()
    translator = pellucid.load(given.run)
    pairs = list(open_split(translator.config.data, given.split))
    found = translator.evaluate(pairs)
    references = [target for _, target in pairs]
    language = translator.config.data.target
    moses = bleu(as_published(found.outputs, language), as_published(references, language), tokenize="none")
    spacy = bleu(as_in_notebooks(found.outputs, language), as_in_notebooks(references, language), tokenize="none")
    record = {
        "split": given.split,
        "sentences": len(pairs),
        "bleu, lower-cased and Moses-tokenised": round(moses.score, 2),
        "bleu, lower-cased and tokenised by spaCy": round(spacy.score, 2),
        "sacreBLEU, detokenised, lower-cased": vars(bleu(found.outputs, references, lowercase=True)),
        "sacreBLEU, detokenised, cased": vars(bleu(found.outputs, references)),
        "loss per token": round(found.loss, 4),
        "machine": machine.describe(),
        "versions": machine.versions(("torch", "sacrebleu", "sacremoses", "spacy")),
    }
    print(json.dumps(record, indent=2))


def as_published(lines: Sequence[str], language: str) -> list[str]:
    """Punctuation normalised, tokenised and lower-cased by Moses' rules."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalise, tokenise = MosesPunctNormalizer(lang=language).normalize, MosesTokenizer(lang=language).tokenize
    return [str(tokenise(normalise(line), return_str=True)).lower() for line in lines]


def as_in_notebooks(lines: Sequence[str], language: str) -> list[str]:
    """Lower-cased, in the tokens of spaCy's blank tokenizer, a space between them."""
    import spacy

    tokenizer = spacy.blank(language).tokenizer
    return [" ".join(token.text for token in tokenizer(line.lower())) for line in lines]


if __name__ == "__main__":
    main()
