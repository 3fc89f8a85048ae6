"""The model card: ``README.md`` of a model directory."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid import __version__
from pellucid.base.config import DataConfig, ModelConfig, RunConfig
from pellucid.data.public_sets import PUBLIC_SETS
from pellucid.tasks.labels import Labels
from pellucid.text.metrics import Score


def translation_card(config: RunConfig, n_parameters: int, dev_scores: Mapping[str, Score]) -> str:
    """What the model is, what it was trained on, how well it does and how to make it again, in Markdown."""
    model, data = config.model, config.data
    return f"""# Translation, {data.source} to {data.target}

{_kind(model)} trained with pellucid {__version__}: {model.encoder.n_layers} + {model.decoder.n_layers} layers, \
d_model {model.d_model}, {n_parameters:,} parameters, a {config.text.tokenizer} vocabulary of \
{model.target_vocabulary:,} entries.

- **Data**: {_corpus(data)}
- **Limits**: it knows sentences like those it was trained on, one at a time, up to {model.max_length} tokens.

{_table(dev_scores)}
Train it again: `pellucid train config.yaml --out DIR`, with the `config.yaml` of the run. Use it:

    echo "..." | pellucid translate DIR
"""


def card(config: RunConfig, n_parameters: int, dev_scores: Mapping[str, float], labels: Labels | None = None) -> str:
    """The same for the other tasks."""
    model = config.model
    layers = " + ".join(str(stack.n_layers) for stack in model.stacks().values())
    classes = f"- **Classes**: {', '.join(labels.names[:50])}\n" if labels else ""
    rows = "".join(f"| {name} | {value:.4f} |\n" for name, value in dev_scores.items())
    scores = f"| dev split | score |\n|---|---|\n{rows}" if rows else "It was not scored while it learnt.\n"
    return f"""# {config.task.replace("_", " ").capitalize()}

{_kind(model)} ({model.architecture}) trained with pellucid {__version__}: {layers} layers, d_model {model.d_model}, \
{n_parameters:,} parameters.

- **Data**: {_corpus(config.data)}
{classes}- **Limits**: it knows what is like its training data, up to {model.max_length} positions.

{scores}
Train it again: `pellucid train config.yaml --out DIR`, with the `config.yaml` of the run.
"""


def _kind(model: ModelConfig) -> str:
    own = model.recurrent
    if own.cell == "none":
        return "A Transformer"
    attention = "" if own.attention == "none" else f", {own.attention} attention"
    return f"A recurrent network ({own.cell.upper()}{attention})"


def vectors_card(config: RunConfig, dev_scores: Mapping[str, float]) -> str:
    """The same for word vectors."""
    model, how = config.model, config.word_vectors
    parts = f", with parts of words in {how.buckets:,} buckets" if how.buckets else ""
    rows = "".join(f"| {name} | {value:.4f} |\n" for name, value in dev_scores.items())
    return f"""# Word vectors

{model.target_vocabulary:,} words, {model.d_model} numbers each, learnt with pellucid {__version__} \
({how.objective}, window {how.window}, {how.negatives} noise words{parts}).

- **Data**: {_corpus(config.data)}
- **Limits**: words that stand in like places are near each other, opposites too; what the text takes for granted is in them.

| dev split | score |
|---|---|
{rows}
Learn them again: `pellucid train config.yaml --out DIR`, with the `config.yaml` of the run. Use them:

    pellucid vectors DIR --neighbours WORD
    pellucid vectors DIR --out vectors.txt
"""


def _corpus(data: DataConfig) -> str:
    """What the model learnt from, and under which licence."""
    if data.corpus == "builtin":
        return "the French-English corpus that pellucid generates, under pellucid's own licence."
    if data.corpus in PUBLIC_SETS:
        known = PUBLIC_SETS[data.corpus]
        return f"{known.name}, {known.what}. Licence: {known.licence}."
    files = data.directory or ", ".join(data.train)
    return f"{files}. The licence of the data holds for what is learnt from them; look it up before you pass the model on."


def _table(dev_scores: Mapping[str, Score]) -> str:
    if not dev_scores:
        return "It was not scored while it learnt: `pellucid evaluate DIR` does it.\n"
    rows = (f"| {name} | {score.score:.2f} | `{score.signature}` |\n" for name, score in dev_scores.items())
    return "| dev split, greedy search | score | signature |\n|---|---|---|\n" + "".join(rows)
