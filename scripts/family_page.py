"""Write docs/reference/family.md from the presets: ``python scripts/family_page.py``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.published import PUBLISHED

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "family.md"

INTRODUCTION = """\
# The family

<!-- Made from the presets by `python scripts/family_page.py`; changes by hand are lost. -->

One attention and one block, put together in three ways: an encoder with a decoder, an encoder alone, a decoder alone.
Published models differ in the parts below and in their sizes, and each is a preset. In a recipe the vocabulary is left to the
tokenizer, and what is said beside the name wins. Head and tying are for the task that the model was made for: BERT for classes
of texts takes `model.head.pool=class` and `model.tie=none` beside its name.

```yaml
task: masked_lm
model: {preset: bert-base, encoder: {n_layers: 6}}
```

In Python the shapes, with their vocabularies, are `PUBLISHED` of `pellucid/base/published.py`. Weights of public models come
in by `pellucid import`."""

PARTS = """\
## Parts

A norm is post, after each residual sum, or pre, before each sublayer and once at the end; epsilon is added to its variance.
Biases are those of attention and feed-forward. Tied matrices are one. Dropout is left out: it is a matter of training."""

SIZES = """\
## Sizes

Heads are given with their width. "Longest" is in tokens or squares: the rows of a table of positions or, where positions have
no end, what the model was trained on."""

COUNTS = """\
## Parameters

Counted without memory, tied matrices once, with the vocabularies above. Where the number does not round to the published one,
the last column says why."""

EXAMPLES = """\
## One of each

The parts of each family with small sizes. The comment behind a line is what it prints.

```python
from dataclasses import replace

import torch

from pellucid.base.config import PictureConfig, StackConfig
from pellucid.base.published import PUBLISHED
from pellucid.model.build import build, initialise

STACK = StackConfig(n_layers=2, n_heads=4, d_ff=64)
SIZES = dict(d_model=32, encoder=STACK, decoder=STACK, source_vocabulary=100, target_vocabulary=100)


def small(name, **changes):
    model = build(replace(PUBLISHED[name].config, **{**SIZES, **changes}))
    initialise(model, seed=1)
    return model.eval()


words = torch.tensor([[7, 4, 9, 12, 5]])  # one text of five tokens
answer = torch.tensor([[1, 8, 6]])  # and another of three
```

The paper's own model reads one text and scores the next token at each place of another.

```python
print(small("paper-base")(words, answer).shape)  # torch.Size([1, 3, 100])
```

**BERT** scores every token at every place. Its tokens have types: here the text is a pair, of three tokens and two.

```python
types = torch.tensor([[0, 0, 0, 1, 1]])
print(small("bert-base")(words, types=types).shape)  # torch.Size([1, 5, 100])
```

**RoBERTa** has one type of token, which adds the same vector to all, and **DistilBERT** has none.

```python
for name in ("roberta-base", "distilbert-base"):
    model = small(name)
    print(model(words).shape, model.encoder.embed.types is None)
# torch.Size([1, 5, 100]) False
# torch.Size([1, 5, 100]) True
```

**GPT-2** goes on writing. A step with what it keeps of the text so far gives what a pass over all of it gives.

```python
model = small("gpt2")
state = model.start(model.encode(words[:, :4]))
logits, state = model.step(words[:, 4:], state)
print(logits.shape)  # torch.Size([1, 1, 100])
print(torch.allclose(logits, model(words)[:, 4:], atol=1e-5))  # True
```

**T5** has one matrix for everything; 1.1 has one more for the output, and a gate in its feed-forward.

```python
for name in ("t5-small", "t5-v1.1-base"):
    model = small(name)
    gate = model.encoder.layers[0].feed_forward.gate
    print(model(words, answer).shape, sorted(model.weights), gate is not None)
# torch.Size([1, 3, 100]) ['shared'] False
# torch.Size([1, 3, 100]) ['output', 'shared'] True
```

**BART** is the paper's model with a table of positions. It is trained to undo damage: the source is damaged, the target whole.

```python
print(small("bart-base")(words, answer).shape)  # torch.Size([1, 3, 100])
```

**Marian** is the paper's model, and begins what it writes with the token of padding.

```python
begun = torch.tensor([[99, 8, 6]])
print(small("marian-en-de")(words, begun).shape)  # torch.Size([1, 3, 100])
```

**BLOOM** weakens attention with distance, so a text may be longer than those it was trained on.

```python
print(small("bloom-176b", max_length=4)(words).shape)  # torch.Size([1, 5, 100])
```

**LLaMA** turns queries and keys by their place. In the largest of its second release several heads share their keys and
values: here four heads of 8 have two keys, 16 numbers for each token instead of 32.

```python
model = small("llama2-70b", decoder=replace(STACK, n_kv_heads=2))
print(model(words).shape)  # torch.Size([1, 5, 100])
print(model.decoder.layers[0].self_attn.key.weight.shape)  # torch.Size([16, 32])
```

**ViT** reads a picture as a row of squares, here 16 of 7 x 7 pixels behind a token of its own, whose vector gives the class.

```python
digits = PictureConfig(patch=7, height=28, width=28, channels=1)
model = small("vit-b16", picture=digits, max_length=17, source_vocabulary=0, target_vocabulary=10)
print(model(torch.zeros(1, 1, 28, 28)).shape)  # torch.Size([1, 10])
```"""


def page() -> str:
    """The text of docs/reference/family.md."""
    models = {name: published.config for name, published in PUBLISHED.items()}
    counts = ((f"`{name}`", f"{one.parameters:,}", one.published, one.source, one.note) for name, one in PUBLISHED.items())
    blocks = [
        [INTRODUCTION],
        [PARTS],
        table(
            ("models", "architecture", "norm", "positions", "activation", "biases", "tied", "what is special"), grouped(models)
        ),
        [SIZES],
        table(
            ("model", "layers", "`d_model`", "heads", "`d_ff`", "vocabulary", "longest"),
            ((f"`{name}`", *sizes(config)) for name, config in models.items()),
        ),
        [COUNTS],
        table(("model", "parameters", "published", "source", "why they differ"), counts),
        [EXAMPLES],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (header, tuple("---" for _ in header), *rows)]


def grouped(models: dict[str, ModelConfig]) -> list[tuple[str, ...]]:
    """One row for all models that are made of the same parts."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, config in models.items():
        groups.setdefault(parts(config), []).append(f"`{name}`")
    return [(", ".join(names), *cells) for cells, names in groups.items()]


def parts(config: ModelConfig) -> tuple[str, ...]:
    """What a model is made of, whatever its size."""
    norm = f"{'RMS' if config.norm_kind == 'rms' else config.norm_kind}, {config.norm}, epsilon {config.norm_epsilon:.0e}"
    return (
        config.architecture,
        norm.replace("e-0", "e-"),
        positions(config),
        f"`{config.activation}`" + (", gated" if "glu" in config.activation else ""),
        biases(config),
        tied(config),
        "; ".join(special(config)) or "nothing else",
    )


def stack_of(config: ModelConfig) -> StackConfig:
    """A stack of the model; where there are two, they are alike."""
    stack, *others = config.stacks().values()
    assert all(other == stack for other in others), "the tables show one of them"
    return stack


def positions(config: ModelConfig) -> str:
    positional = config.positional
    return {
        "sinusoidal": "sinusoidal" + (", sines before cosines" if positional.halves else ", sines and cosines in turn"),
        "rotary": f"rotary, base {positional.rotary.base:,.0f}",
        "alibi": "ALiBi",
        "relative": f"relative, {positional.relative.buckets} kinds of distances up to {positional.relative.max_distance}",
    }.get(config.positions, config.positions)


def biases(config: ModelConfig) -> str:
    attention, rest = stack_of(config).attention_bias, config.bias
    words = {True: "yes", False: "no"}
    return words[rest] if attention in (None, rest) else f"{words[rest]}; in the attention {words[not rest]}"


def tied(config: ModelConfig) -> str:
    if config.architecture == "encoder-decoder":
        ties = {"all": "both embeddings, output", "embeddings": "both embeddings", "decoder": "target embedding, output"}
        return ties.get(config.tie, "none")
    return "embedding, output" if config.tie == "all" else "none"


def special(config: ModelConfig) -> list[str]:
    """What the other columns do not say."""
    embedding, head = config.embedding, config.head
    said = {
        "the squares of a picture in place of tokens": config.picture.patch,
        "embedding times sqrt(`d_model`)": embedding.scale and not config.picture.patch,
        f"token types: {embedding.types}": embedding.types,
        "norm of the embedding": embedding.norm,
        "scores not divided by sqrt(`d_head`)": config.attention == "dot-unscaled",
        "heads share keys and values": stack_of(config).n_kv_heads,
        "a class token first, whose vector is read out": head.pool == "class",
        f"before the output a layer with `{head.activation}`": head.transform == "dense",
        f"before the output a layer with `{head.activation}` and a norm": head.transform == "norm",
        "vectors divided by sqrt(`d_model`) before the output": head.scale,
        "biases of the output": head.bias,
    }
    return [text for text, holds in said.items() if holds]


def sizes(config: ModelConfig) -> tuple[str, ...]:
    """The numbers of a model."""
    stack = stack_of(config)
    (width,) = set(stack.head_width(config.d_model))
    heads = f"{stack.n_heads} of {width}" + (f", keys and values of {stack.n_kv_heads}" if stack.n_kv_heads else "")
    return (
        " + ".join(str(stack.n_layers) for _ in config.stacks()),
        f"{config.d_model:,}",
        heads,
        f"{stack.d_ff:,}",
        vocabulary(config),
        f"{config.max_length:,}",
    )


def vocabulary(config: ModelConfig) -> str:
    """What goes in and comes out, where the two are not the same tokens."""
    picture, outputs = config.picture, f"{config.target_vocabulary:,}"
    if not picture.patch:
        assert config.source_vocabulary == config.target_vocabulary, "the table shows one of them"
        return outputs
    size = f"{picture.height} x {picture.width} x {picture.channels}"
    return f"pictures of {size} in squares of {picture.patch} x {picture.patch}; {outputs} classes"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(PAGE)
