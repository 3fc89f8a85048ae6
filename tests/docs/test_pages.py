"""What the pages written by hand say about recipes, options and formulas is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import pytest

from pellucid.base.config import RunConfig
from pellucid.base.recipe import read, to_dict
from pellucid.cli import data, evaluate, generate, info, plot, train, translate
from pellucid.decoding.penalties import length_penalty

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
RECIPES = [(name, text) for name, page in TEXTS.items() for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", page)]
VERBS: list[click.Command] = [
    *(train.train, translate.translate, generate.generate, evaluate.evaluate),
    *(info.info, plot.plot, data.data),
]
# A verb and what follows it, up to the end of the line, of the quotation or of the pipe.
COMMAND = re.compile(r"\bpellucid (train|translate|generate|evaluate|info|plot|data)\b([^\n`|]*)")


@pytest.mark.parametrize(("name", "text"), RECIPES, ids=[name for name, _ in RECIPES])
def test_recipes_are_read(name: str, text: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    assert read(recipe) != RunConfig()


def test_there_are_recipes_and_commands_to_check() -> None:
    assert {name for name, _ in RECIPES} >= {"docs/how-to/translate-your-own-data.md", "docs/reference/recipe.md"}
    commands = COMMAND.findall(TEXTS["docs/how-to/translate-your-own-data.md"])
    assert {verb for verb, _ in commands} >= {"train", "translate", "evaluate", "info", "plot"}


@pytest.mark.parametrize("name", TEXTS)
def test_options_of_commands_exist(name: str) -> None:
    options = {str(verb.name): {option for parameter in verb.params for option in parameter.opts} for verb in VERBS}
    for verb, rest in COMMAND.findall(TEXTS[name]):
        assert set(re.findall(r"(?<!\S)--?[a-z_-]+", rest)) <= options[verb] | {"--help"}, f"pellucid {verb}{rest}"


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"docs/reference/taps.md"}))  # where `model.encode` is Python
def test_dotted_keys_exist(name: str) -> None:
    """`training.steps` in a text, training.steps=500 in a command."""
    config = to_dict(RunConfig())
    places = "|".join(field.name for field in dataclasses.fields(RunConfig) if isinstance(config[field.name], dict))
    for dotted in re.findall(rf"(?<![\w./])(?:{places})\.[a-z0-9_.]*[a-z0-9](?=[`=])", TEXTS[name]):
        value: object = config | {"model": {**config["model"], "preset": None}}
        for part in dotted.split("."):
            assert isinstance(value, dict), dotted
            assert part in value, dotted
            value = value[part]


def test_numbers_of_the_length_penalties() -> None:
    """The table of the decoding page, from the formulas in the code."""
    rows = re.findall(r"(?m)^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", TEXTS["docs/reference/decoding.md"])
    penalties = [length_penalty("none", 0.6), length_penalty("gnmt", 0.6), length_penalty("power", 1.0)]
    assert len(rows) >= 4
    for n, *shown in rows:
        assert shown == [f"{penalty(int(n)):.3f}" for penalty in penalties]
