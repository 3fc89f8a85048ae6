"""The reference pages say what the code has. Two of them are made from it: ``python -m tests.docs.test_reference --write``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import sys
import tokenize
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest

from pellucid.base.config import ModelConfig, RunConfig
from pellucid.base.presets import MODEL_PRESETS
from pellucid.base.recipe import from_dict, read, to_dict
from pellucid.base.taps import STEPS, TABLE, TapRow

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
AGAIN = "Made from the code by `python -m tests.docs.test_reference --write`; changes by hand are lost."

# What a field means that has no comment in config.py.
MEANINGS = {
    "model.architecture": "the kind of model; rnn, gru, lstm: recurrent, of the kind that the task needs",
    "model.norm_epsilon": "added to the variance, inside the root",
    "model.activation": "of the feed-forward; glu, reglu, geglu, geglu_tanh and swiglu are gated",
    "model.attention": "how a query is matched with a key: dot product (the paper), unscaled (T5), or one hidden layer",
    "model.positions": "vectors to add (sinusoidal, learned), rotary, or a bias by distance (alibi; relative: T5's)",
    "model.target_vocabulary": "set from the tokenizer",
    "text.tokenizer": "bpe, unigram and byte can hold any text; word and character know what the training split held",
    "data.corpus": "`builtin`, or a public set by name (`pellucid data` lists them)",
    "data.directory": "a folder with `train.*`, `dev.*` and `test.*`",
    "data.train": "one file, or two aligned ones: source, target",
    "data.dev": "the same, for validation",
    "data.test": "the same, for `pellucid evaluate`",
    "data.target": "the same for the other side, if there is one; built-in corpus also: `tags`",
    "data.on_long": "what becomes of an example with a text longer than `data.max_length`",
    "data.on_empty": "what becomes of an example with a text that is empty or only white space",
    "data.on_bad_utf8": "what becomes of an example with bytes that are not UTF-8; replace: by U+FFFD",
    "optimizer.beta1": "decay of Adam's mean of the gradient",
    "optimizer.beta2": "decay of Adam's mean of the squared gradient",
    "optimizer.epsilon": "added to the root of the latter",
    "training.log_every": "steps between rows of `metrics.jsonl`",
    "checkpoints.average_of": "which checkpoints are averaged: the last ones, or those with the best validation",
    "decoding.alpha": "exponent of the length penalty",
    "runtime.device": "`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU if there is one",
    "task": "what is trained",
}


class Key(NamedTuple):
    """One key of a recipe."""

    dotted: str
    default: str
    values: str
    comment: str


def comments(cls: type) -> dict[str, str]:
    """The comment behind each field of a dataclass, which is its help text."""
    source = inspect.getsource(cls)
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: by_line.get(node.lineno, "")
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def keys(cls: Any, prefix: str = "") -> Iterator[Key]:
    """Every key at and below a dataclass of the configuration."""
    hints, said, defaults = get_type_hints(cls), comments(cls), cls()
    for field in dataclasses.fields(cls):
        dotted, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, f"{dotted}.")
        else:
            yield Key(dotted, shown(getattr(defaults, field.name)), values(hint), said[field.name])


def shown(value: object) -> str:
    """A default as a recipe writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "[]" if value == () else str(value)


def values(hint: Any) -> str:
    """The values that a type allows, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(values(option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return {int: "list of whole numbers", str: "list of files"}[get_args(hint)[0]]
    return {int: "whole number", float: "number", str: "text", bool: "true, false", types.NoneType: "null"}[hint]


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def sections() -> Iterator[tuple[str, str, list[Key]]]:
    """Name, description and keys of each section; first the keys that stand by themselves."""
    everything = list(keys(RunConfig))
    yield "The run", "", [key for key in everything if "." not in key.dotted]
    hints = get_type_hints(RunConfig)
    for field in dataclasses.fields(RunConfig):
        if dataclasses.is_dataclass(hints[field.name]):
            text = inspect.cleandoc(hints[field.name].__doc__ or "").replace("``", "`")
            yield field.name, text, [key for key in everything if key.dotted.startswith(f"{field.name}.")]


def recipe_page() -> str:
    """docs/reference/recipe.md."""
    lines = [
        "# Recipes",
        "",
        f"<!-- {AGAIN} -->",
        "",
        "A recipe is a YAML file that says what differs from the defaults below. A value can also be given on the command",
        "line, by its dotted key: `pellucid train recipe.yaml training.steps=500 model.dropout=0.3 --out runs/x`.",
        "`pellucid train recipe.yaml --print_config` prints the whole configuration and stops.",
        "",
        "```yaml",
        "model: {preset: small, dropout: 0.3}",
        "data:",
        "  directory: data",
        "  source: fr",
        "  target: en",
        "training: {steps: 20000}",
        "```",
        "",
        "An unknown key, a wrong type and a contradiction are all reported at once, with file and line. `null` is YAML for",
        "nothing. Where a list may stand, a single value is a list of one.",
    ]
    for name, text, some in sections():
        rows = ((f"`{k.dotted}`", f"`{k.default}`", k.values, k.comment or MEANINGS[k.dotted]) for k in some)
        lines += ["", f"## {name}", "", *([*text.split("\n"), ""] if text else [])]
        lines += table(("key", "default", "values", "meaning"), rows)
        if name == "model":
            lines += ["", *presets()]
    return "\n".join(lines) + "\n"


def presets() -> list[str]:
    """The shapes that model.preset names: those of the paper's kind in a table, the other published ones on their own page."""
    header = ("preset", "`d_model`", "`n_layers`", "`n_heads`", "`d_ff`", "`dropout`")
    rows, others = [], []
    for name, values in MODEL_PRESETS.items():
        model = from_dict(ModelConfig, values, "presets")
        stack = model.encoder
        sizes = {"d_model": model.d_model, "encoder": stack, "decoder": stack, "dropout": model.dropout}
        if model == ModelConfig(**sizes):
            numbers = (model.d_model, stack.n_layers, stack.n_heads, stack.d_ff, model.dropout)
            rows.append((f"`{name}`", *map(str, numbers)))
        else:
            others.append(f"`{name}`")
    return [
        "`model.preset` names a shape, the same on both sides; what is said beside it wins.",
        "",
        *table(header, rows),
        "",
        f"Shapes of published models, with other parts ([the family](family.md)): {', '.join(others)}.",
    ]


def taps_page() -> str:
    """docs/reference/taps.md."""
    lines = [
        "# Taps",
        "",
        f"<!-- {AGAIN} -->",
        "",
        "`model(source, target, tap=f)` calls `f(name, tensor)` at each of these points and goes on with the tensor that `f`",
        "returns. `model.encode`, `model.decode` and `model.step` take a tap, too.",
        "",
        "```python",
        "seen = {}",
        "",
        "",
        "def tap(name, tensor):",
        "    seen[name] = tensor  # look; return another tensor of the same shape to change what follows",
        "    return tensor",
        "",
        "",
        "model(source, target, tap=tap)",
        'seen["decoder.layers.0.cross_attn.weights"]  # (batch, head, query, key)',
        "```",
        "",
        "N is the number of a layer, from 0. Before the axes of every tensor comes the batch. What a model lacks is absent:",
        "`mask` and `masked` where everything may be attended to, `gate` without a gated feed-forward, `norm` of a whole",
        "stack with post-norm. The source of this page is `pellucid/base/taps.py`.",
        "",
        "A trace ([look inside](../how-to/look-inside.md)) holds these without the batch, and with them the steps of decoding.",
    ]
    for place, rows in by_place().items():
        lines += ["", f"## {place}", ""]
        cells = ((f"`{r.name}`", f"`{r.symbol}`", f"`{r.formula}`", ", ".join(r.axes), r.sentence) for r in rows)
        lines += table(("name", "symbol", "formula", "axes", "what it is"), cells)
    lines += ["", "## Decoding", ""]
    cells = (
        (f"`{r.name}`", f"`{r.symbol}`" if r.symbol else "", f"`{r.formula}`", ", ".join(r.axes), r.sentence) for r in STEPS
    )
    lines += table(("name", "symbol", "formula", "axes", "what it is"), cells)
    return "\n".join(lines) + "\n"


def by_place() -> dict[str, list[TapRow]]:
    """The rows of the table by the box of Figure 1 that they lie in."""
    places: dict[str, list[TapRow]] = {}
    for row in TABLE:
        parts = row.name.split(".")
        if len(parts) == 1:
            place = "Output"
        elif parts[1] == "layers":
            sublayer = parts[3].removesuffix("_residual").removesuffix("_norm")
            place = f"{parts[0].capitalize()} layer" + ("" if sublayer == "out" else f": {sublayer}")
        else:
            place = f"{parts[0].capitalize()}: {'embedding' if parts[1] == 'embed' else 'the whole stack'}"
        places.setdefault(place, []).append(row)
    return places


PAGES = {"recipe.md": recipe_page, "taps.md": taps_page}


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    there = (REFERENCE / name).read_text(encoding="utf-8")
    assert there == PAGES[name](), "run: python -m tests.docs.test_reference --write"


def test_every_key_of_a_recipe_is_there_with_its_default(tmp_path: Path) -> None:
    """Given as overrides, the keys and defaults of the page make the configuration that no override makes."""
    page = (REFERENCE / "recipe.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| `([^`]*)` \|", page, re.MULTILINE)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 99\n", encoding="utf-8")
    assert read(recipe, [f"{key}={default}" for key, default in rows]) == RunConfig()

    def dotted(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in tree.items():
            yield from dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]

    assert sorted(key for key, _ in rows) == sorted(dotted(to_dict(RunConfig())))


def test_every_field_means_something() -> None:
    without = {key.dotted for key in keys(RunConfig) if not key.comment}
    assert without == set(MEANINGS), "each field has a comment in config.py or, failing that, a line in MEANINGS"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.docs.test_reference --write")
    for file, make in PAGES.items():
        (REFERENCE / file).write_text(make(), encoding="utf-8", newline="\n")
        print(REFERENCE / file)
