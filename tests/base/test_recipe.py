"""Recipes in, configurations out; every mistake at once, each with its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base import config as c
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.recipe import from_dict, read, to_dict, to_yaml

GOOD = """\
seed: 7
model:
  preset: tiny
  encoder: {d_ff: [300, 200, 100, 50]}
  dropout: 0.3
text:
  tokenizer: unigram
  vocabulary: 10_000
data:
  train: [train.en, train.de]
  source: en
  target: de
training:
  steps: 8000
optimizer:
  epsilon: 1e-9
"""


def recipe(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(tmp_path: Path, text: str | bytes, *overrides: str) -> str:
    """What is said of a recipe, the directory left out."""
    with pytest.raises(UsageError) as caught:
        read(recipe(tmp_path, text), overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_values_and_defaults(tmp_path: Path) -> None:
    found = read(recipe(tmp_path, GOOD))
    assert found.seed == 7
    assert found.model.encoder == c.StackConfig(n_layers=4, n_heads=4, d_ff=(300, 200, 100, 50))
    assert found.model.decoder == c.StackConfig(n_layers=4, n_heads=4, d_ff=256)
    assert (found.model.d_model, found.model.dropout) == (128, 0.3)
    assert found.text == c.TextConfig(tokenizer="unigram", vocabulary=10_000)
    assert found.data == c.DataConfig(train=("train.en", "train.de"), source="en", target="de")
    assert found.training == c.TrainingConfig(steps=8000)
    assert found.optimizer == c.OptimizerConfig(epsilon=1e-9)
    assert found.decoding == c.DecodingConfig()


@pytest.mark.parametrize(
    "overrides", [["training.steps=100"], ["--training.steps=100"], ["--training.steps", "100"], ["training.steps= 100"]]
)
def test_forms_of_overrides(tmp_path: Path, overrides: list[str]) -> None:
    assert read(recipe(tmp_path, GOOD), overrides).training.steps == 100


def test_overrides_win_over_file_and_preset(tmp_path: Path) -> None:
    shape = ["model.preset=small", "model.dropout=0", "model.encoder.d_ff=[1, 2, 3]"]
    found = read(recipe(tmp_path, GOOD), [*shape, "--data.train", "all.tsv", "seed=1", "seed=2"])
    assert found.model.d_model == 256
    assert found.model.dropout == 0.0
    assert found.model.encoder.d_ff == (1, 2, 3)
    assert found.data.train == ("all.tsv",)
    assert found.seed == 2


def test_a_section_with_everything_commented_out_is_left_alone(tmp_path: Path) -> None:
    found = read(recipe(tmp_path, "model:\n  preset: tiny\n  encoder:\n    # d_ff: 3\ntraining:\ndata: {corpus: builtin}\n"))
    assert found.model.encoder.d_ff == 256
    assert found.training == c.TrainingConfig()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("data: {source: no}", "no"),  # Norwegian: YAML 1.1 takes it for false
        ("data: {source: 1.10}", "1.10"),
        ("data: {source: 'a: b # c'}", "a: b # c"),
        ("data: {source: 2017-06-12}", "2017-06-12"),
        ("data: {source: français}", "français"),
        ('data: {source: "\\u2028"}', "\u2028"),
    ],
)
def test_text_is_what_is_written(tmp_path: Path, line: str, value: str) -> None:
    assert read(recipe(tmp_path, line)).data.source == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-9", 1e-9), ("1.0e-09", 1e-9), ("'0.5'", 0.5), (".5", 0.5), ("3", 3.0), ("+2.", 2.0), ("1_0.5", 10.5)],
)
def test_forms_of_numbers(tmp_path: Path, text: str, value: float) -> None:
    found = read(recipe(tmp_path, f"optimizer: {{epsilon: {text}}}")).optimizer.epsilon
    assert found == value
    assert isinstance(found, float)


@pytest.mark.parametrize(
    "text", [".inf", ".nan", "1e400", "0x10", "1:30", "yes", "''", "1__0", "9" * 50, "[1]", "{}", "~", "٣"]
)
def test_what_is_no_number(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, f"\noptimizer: {{epsilon: {text}}}")
    assert said.startswith("recipe.yaml:2: optimizer.epsilon: wrong value\n  expected: a number\n  found:    ")


@pytest.mark.parametrize("text", ["1.5", "1e3", "010", "'3'", "true", "three", "1__0", "9" * 50, "null"])
def test_what_is_no_whole_number(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, f"training:\n  steps: {text}")
    assert said.startswith("recipe.yaml:2: training.steps: wrong value\n  expected: a whole number\n  found:    ")


def test_every_mistake_is_reported_with_its_place(tmp_path: Path) -> None:
    text = """\
modle: {}
model:
  n_heads: 3
  d_model: wide
  encoder:
    n_layers: 0
training:
  stesp: 4
  batch_tokens: -1
  metric: blue
  steps: 5
  steps: 6
steps: 100
data: here
text: {joint: maybe}
"""
    said = refusal(tmp_path, text, "--optimizer.warmup", "-4", "seed=x", "nothing", "decoding.beans=3")
    first, *lines = said.split("\n")
    assert first == "15 mistakes in the configuration", said
    assert sorted(line for line in lines if not line.startswith("  ")) == sorted(
        [
            "recipe.yaml:1: modle: unknown key",
            "recipe.yaml:3: model.n_heads: unknown key",
            "recipe.yaml:4: model.d_model: wrong value",
            "recipe.yaml:6: model.encoder.n_layers: must be at least 1, is 0",
            "recipe.yaml:8: training.stesp: unknown key",
            "recipe.yaml:9: training.batch_tokens: must be at least 1, is -1",
            "recipe.yaml:10: training.metric: wrong value",
            "recipe.yaml:12: training.steps: the key is given twice",
            "recipe.yaml:13: steps: unknown key",
            "recipe.yaml:14: data: wrong value",
            "recipe.yaml:15: text.joint: wrong value",
            "command line: optimizer.warmup: must be at least 0, is -4",
            "command line: seed: wrong value",
            "command line: nothing: a value is missing",
            "command line: decoding.beans: unknown key",
        ]
    )


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("training: {stesp: 3}", "did you mean steps?"),
        ("trainig: {}", "did you mean training?"),
        ("training: {epsilon: 1}", "did you mean optimizer.epsilon?"),  # of another section
        ("model: {preset: tinny}", "did you mean tiny?"),
        ("model: {norm: per}", "did you mean pre?"),
        ("text: {tokenizer: bytes}", "did you mean byte?"),
    ],
)
def test_the_nearest_name_is_offered(tmp_path: Path, text: str, advice: str) -> None:
    assert refusal(tmp_path, text).endswith(advice)


def test_without_a_near_name_all_are_listed(tmp_path: Path) -> None:
    assert "expected: one of steps, batch_tokens, accumulate" in refusal(tmp_path, "training: {qqq: 3}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text: {joint: false}", 'recipe.yaml: model.tie: "all" needs text.joint: true'),
        ("seed: 1\nmodel:\n  dropout: 0\ntext: {joint: false}", 'recipe.yaml:2: model.tie: "all" needs text.joint: true'),
        (
            "model:\n  preset: tiny\n  d_model: 130",
            "recipe.yaml:2: model.encoder.n_heads: must divide d_model = 130 (or set encoder.d_head), is 4",
        ),
        ("data: {corpus: builtin,\n directory: x}", "recipe.yaml:1: data.corpus: give one of corpus, directory and train"),
        ("model: {encoder: {n_heads: []}}", "recipe.yaml:1: model.encoder.n_heads: needs n_layers = 6 numbers, has 0"),
    ],
)
def test_contradictions(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "model:\n  d_model: wide\n  encoder: {n_heads: 7}",  # 7 does not divide the default width, which nobody asked for
        "model:\n  encoder:\n    n_layers: many\n    n_heads: [1, 2]",
        "text: {joint: perhaps}\nmodel: {tie: all}",
        "text: {tokenizer: words, vocabulary: 100}",
        "optimizer: {schedule: papers, warmup: 0}",
    ],
)
def test_nothing_is_said_of_what_follows_from_a_broken_value(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, text)
    assert ": wrong value\n" in said
    assert "mistakes" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "recipe.yaml: the recipe is empty"),
        ("# nothing\n", "recipe.yaml: the recipe is empty"),
        ("---\n...\n", "recipe.yaml: the recipe is empty"),
        ("- 1\n- 2\n", "recipe.yaml: not a recipe"),
        ("just words", "recipe.yaml: not a recipe"),
        ("seed: 1\n---\nseed: 2\n", "recipe.yaml:2: the YAML cannot be read"),
        ("seed: 1\ntraining: {steps: 3\n", "recipe.yaml:3: the YAML cannot be read"),
        ("seed: 1\n  steps: 3\n", "recipe.yaml:2: the YAML cannot be read"),
        ("training:\n\tsteps: 3\n", "indent with spaces, YAML allows no tabs"),
        ("seed: @3\n", "recipe.yaml:1: the YAML cannot be read"),
        ("? [a, b]\n: 3\n", "recipe.yaml:1: a key must be a single word"),
        ("seed: !!python/object/apply:os.system [ls]\n", "recipe.yaml:1: seed: wrong value"),
        ("<<: {seed: 1}\n", "recipe.yaml:1: <<: unknown key"),
        (b"seed: 1\ndata: {source: \xe9}\n", "recipe.yaml:2: not UTF-8 text\n  found:    byte 0xe9 at offset 23"),
        (b"\xff\xfes\x00", "recipe.yaml:1: not UTF-8 text"),
        ("seed: 1\n# \x00\n", "recipe.yaml:2: a character that YAML does not allow\n  found:    U+0000"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert read(recipe(tmp_path, b"\xef\xbb\xbfseed: 3\n")).seed == 3


BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "recipe.yaml:2: the YAML cannot be read: aliases (*name) are not allowed"),
        ("seed: &s 1\ntraining: {steps: *s}", "recipe.yaml:2: the YAML cannot be read: aliases"),
        ("a: " + "[" * 30_000, "recipe.yaml:1: the YAML cannot be read: too many levels"),
        ("a: " + "{b: " * 15_000, "recipe.yaml:1: the YAML cannot be read: too many levels"),
        ("\n".join(" " * i + "a:" for i in range(350)), "the YAML cannot be read: too many levels"),
        ("# " + "x" * 70_000, "recipe.yaml: too large for a recipe\n  expected: at most 65536 bytes\n  found:    70002"),
    ],
)
def test_bombs(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: no such file"):
        read(tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match="cannot read the recipe"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--training.steps"], "command line: training.steps: a value is missing"),
        (["training.steps="], "command line: training.steps: a value is missing"),
        (["=3"], "a value is missing"),
        (["training.steps.more=3"], "command line: training.steps: wrong value"),
        (["training=3"], "command line: training: wrong value"),
        (["training.steps=[1"], "command line: training.steps: the YAML cannot be read"),
        (["data.corpus=*x"], "command line: data.corpus: the YAML cannot be read: aliases"),
        (["data.corpus=\x00"], "command line: data.corpus: a character that YAML does not allow"),
        (["data.corpus=\udcff"], "command line: data.corpus: a character that YAML does not allow"),
        (["model.preset=[tiny]"], "command line: model.preset: no such preset"),
        ([".".join("a" * 5000) + "=1"] * 2, "command line: a: unknown key"),
        (["model={d_model: 7, d_model: 8}"], "command line: model: d_model: the key is given twice"),
    ],
)
def test_mistakes_of_the_command_line(tmp_path: Path, overrides: list[str], said: str) -> None:
    assert said in refusal(tmp_path, GOOD, *overrides)


def test_mistakes_of_file_and_command_line_come_together(tmp_path: Path) -> None:
    said = refusal(tmp_path, "seed: [", "training.steps=x")
    assert "recipe.yaml:1: the YAML cannot be read" in said
    assert "command line: training.steps: wrong value" in said


def test_the_whole_configuration_makes_the_round_trip(tmp_path: Path) -> None:
    found = read(recipe(tmp_path, GOOD), ["data.source=no", "data.directory=null", "model.decoder.reads=[0, 1, 2, 3]"])
    assert read(recipe(tmp_path, to_yaml(found))) == found
    assert from_dict(c.RunConfig, json.loads(json.dumps(to_dict(found))), "config.json") == found


texts = st.text(max_size=20)
configurations = st.builds(
    c.RunConfig,
    seed=st.integers(0, 2**63),
    model=st.builds(
        c.ModelConfig,
        decoder=st.builds(c.StackConfig, reads=st.none() | st.tuples(*[st.integers(0, 5)] * 6)),
        dropout=st.floats(0, 1, exclude_max=True),
        norm_epsilon=st.floats(1e-80, 1e80, exclude_min=True),
        norm=st.sampled_from(["pre", "post"]),
        bias=st.booleans(),
    ),
    data=st.builds(c.DataConfig, directory=st.none() | texts, source=texts, dev=st.lists(texts, max_size=2).map(tuple)),
)


@settings(deadline=None, max_examples=30)
@given(config=configurations)
def test_any_configuration_makes_the_round_trip(tmp_path_factory: pytest.TempPathFactory, config: c.RunConfig) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_bytes(to_yaml(config).encode())
    assert read(path) == config
    assert from_dict(c.RunConfig, json.loads(json.dumps(to_dict(config))), "config.json") == config


def refused(path: Path, overrides: list[str]) -> str | None:
    """What is said of a recipe; None when it is read."""
    try:
        assert isinstance(read(path, overrides), c.RunConfig)
    except UsageError as error:
        return str(error)
    return None


Cut = tuple[int, int, str]  # where, how many characters, what to put there


def mangle(text: str, cuts: list[Cut]) -> str:
    for start, length, new in cuts:
        start %= len(text) + 1
        text = text[:start] + new + text[start + length :]
    return text


pieces = st.sampled_from(
    [*"\t\n:-?[]{}&*!|>'\"%@`#,~<= ", "- ", ": ", "? ", "<<: ", "null", "1e9", "&a", "*a", "!!", "---\n", "\ufeff"]
)
cuts = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), pieces | st.text(max_size=5)), min_size=1, max_size=6)


@settings(deadline=None)
@given(cuts=cuts)
def test_a_mangled_recipe_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, cuts: list[Cut]) -> None:
    path = tmp_path_factory.getbasetemp() / "mangled.yaml"
    path.write_bytes(mangle(GOOD, cuts).encode("utf-8", "surrogatepass"))
    said = refused(path, [])
    assert said is None or str(path) in said


@settings(deadline=None)
@given(data=st.binary(max_size=60), override=st.text(max_size=30))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, override: str) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    said = refused(path, [override, f"seed={override}"])
    assert said is None or str(path) in said or "command line" in said


model_keys = list(to_dict(c.ModelConfig()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(model_keys), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(data=json_values)
def test_any_json_is_read_or_refused(data: object) -> None:
    said = ""
    try:
        assert isinstance(from_dict(c.ModelConfig, data, "config.json"), c.ModelConfig)
    except ModelError as error:
        said = str(error)
    assert not said or "config.json" in said


def test_json_of_any_depth_is_refused() -> None:
    data: object = 1
    for _ in range(100_000):
        data = [data]
    with pytest.raises(ModelError, match=r"config\.json: d_model: wrong value"):
        from_dict(c.ModelConfig, {"d_model": data}, "config.json")


@pytest.mark.parametrize("value", [True, 3.0, "3", None, [3]])
def test_json_types_are_kept_apart(value: object) -> None:
    with pytest.raises(ModelError, match=r"config\.json: d_model: wrong value") as caught:
        from_dict(c.ModelConfig, {"d_model": value}, "config.json")
    assert caught.value.exit_code == 4


def test_json_has_no_presets() -> None:
    with pytest.raises(ModelError, match="preset: unknown key"):
        from_dict(c.ModelConfig, {"preset": "tiny"}, "config.json")


def test_a_refusal_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    code = """
import sys
from pellucid.base import errors, files, presets, progress, recipe, runtime, taps
try:
    recipe.read(sys.argv[1])
except errors.UsageError as error:
    print(error)
print(sorted({"torch", "numpy", "tqdm"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(recipe(tmp_path, "sede: 3"))]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert "sede: unknown key" in result.stdout
    assert result.stdout.endswith("[]\n")
