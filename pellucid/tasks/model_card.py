"""The model card: ``README.md`` of a model directory."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid import __version__
from pellucid.base.config import RunConfig
from pellucid.text.metrics import Score


def translation_card(config: RunConfig, n_parameters: int, dev_scores: Mapping[str, Score]) -> str:
    """What the model is, what it was trained on, how well it does and how to make it again, in Markdown."""
    model, data = config.model, config.data
    corpus = data.corpus or data.directory or ", ".join(data.train)
    rows = "".join(f"| {name} | {score.score:.2f} | `{score.signature}` |\n" for name, score in dev_scores.items())
    return f"""# Translation, {data.source} to {data.target}

A Transformer trained with pellucid {__version__}: {model.encoder.n_layers} + {model.decoder.n_layers} layers, \
d_model {model.d_model}, {n_parameters:,} parameters, a {config.text.tokenizer} vocabulary of \
{model.target_vocabulary:,} entries.

- **Data**: {corpus}. The licence of the data holds for what is learnt from them; look it up before you pass the model on.
- **Limits**: it knows sentences like those it was trained on, one at a time, up to {model.max_length} tokens.

| dev split, greedy search | score | signature |
|---|---|---|
{rows}
Train it again: `pellucid train config.yaml --out DIR`, with the `config.yaml` of the run. Use it:

    echo "..." | pellucid translate DIR
"""
