"""Language models: windows of a text, what is learnt from them, and how a text is gone on with."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    DataConfig,
    DecodingConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, UsageError
from pellucid.data.store import Store
from pellucid.model.build import build, initialise
from pellucid.tasks.language_model import LanguageModel
from pellucid.tasks.language_modelling import LanguageModelling
from pellucid.tasks.request import Request
from pellucid.tasks.train import train
from pellucid.tasks.windows import mean_loss, window_loss
from pellucid.text.tokenizer import Tokenizer

ROUND = "alpha beta gamma delta\n"  # over and over: what comes next is certain once a few letters have been read
CONTEXT = 16
GREEDY = {"beams": 1, "temperature": 0.0}


def run_config(data: DataConfig, **sections: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "model": ModelConfig(
            architecture="decoder",
            d_model=32,
            decoder=StackConfig(2, 4, 48),
            dropout=0.0,
            norm="pre",
            positions="learned",
            max_length=CONTEXT,
        ),
        "text": TextConfig(tokenizer="character", min_frequency=1),
        "data": data,
        "training": TrainingConfig(steps=80, batch_tokens=256, validate_every=40, label_smoothing=0.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.01, warmup=20, clip=1.0),
        "checkpoints": CheckpointConfig(every=40),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task="language_modelling", **{**defaults, **sections})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the round by heart; for reading only."""
    directory = tmp_path_factory.mktemp("written")
    (directory / "round.txt").write_text(ROUND * 60, encoding="utf-8")
    train(run_config(DataConfig(train=(str(directory / "round.txt"),), holdout=0.1)), directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows two documents, which end; for reading only."""
    directory = tmp_path_factory.mktemp("stories")
    lines = [json.dumps({"source": text}) + "\n" for text in ("one fox", "two hens") * 60]
    (directory / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    (directory / "dev.jsonl").write_text("".join(lines[:8]), encoding="utf-8")
    train(run_config(DataConfig(directory=str(directory))), directory / "run")
    return directory / "run"


def random_model(positions: Any = "learned", *, bias: bool = False, **model: Any) -> LanguageModel:
    """Letters, weights large enough that every prompt goes another way."""
    tokenizer = Tokenizer.train(["abcdefghij \n"], TextConfig(tokenizer="character", min_frequency=1))
    config = run_config(DataConfig(train=("letters.txt",)))
    size = tokenizer.vocabulary_size
    shape = replace(config.model, positions=positions, source_vocabulary=size, target_vocabulary=size, **model)
    if bias:
        shape = replace(shape, head=HeadConfig(bias=True))
    built: Any = build(shape)
    initialise(built, 3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(1.5)
    return LanguageModel(built, replace(config, model=shape), tokenizer)


def step_by_step(model: LanguageModel, prompt: str, tokens: int) -> str:
    """Greedy continuation by a whole forward pass for every token; of a full table of positions the last half stays."""
    ids = model.tokenizer.encode(prompt)
    window, written = ids[-CONTEXT:], []
    for _ in range(tokens):
        logits = model.logits(torch.tensor([window]))[0, -1]
        written.append(4 + int(logits[4:].argmax()))  # no control token
        window = [*window, written[-1]]
        if len(window) > CONTEXT:
            window = [*ids, *written][-CONTEXT // 2 :]
    return model.tokenizer.decode(written)


class TestTraining:
    def test_it_learns_what_comes_next(self, written: Path) -> None:
        model = pellucid.load(written)
        assert model.evaluate_split("dev").values["loss"] < 0.3  # an even chance among the letters that occur: ln 12 = 2.5
        assert model.generate("alpha be", tokens=60, **GREEDY) == [(ROUND * 4)[:68]]

    def test_what_is_loaded_scores_as_it_did_in_training(self, written: Path) -> None:
        rows = [json.loads(line) for line in (written / "metrics.jsonl").read_text().splitlines()]
        best = min(row["dev_loss"] for row in rows if "dev_loss" in row)
        assert pellucid.load(written).evaluate_split("dev").values["loss"] == pytest.approx(best, abs=1e-5)

    def test_samples_are_one_line_each(self, written: Path) -> None:
        samples = (written / "samples.txt").read_text(encoding="utf-8").splitlines()
        shown = [line for line in samples if " -> " in line]
        assert len(shown) == 3 * 2  # of two validations
        assert all("⏎" in line for line in shown)
        prompt, _, text = shown[-1].partition(" -> ")
        assert (len(prompt.strip()) <= CONTEXT // 2, len(text)) == (True, 100)

    def test_a_batch_is_windows_and_the_tokens_after_each(self, tmp_path: Path) -> None:
        (tmp_path / "text.txt").write_text("abcdefghij" * 8, encoding="utf-8")
        config = run_config(DataConfig(train=(str(tmp_path / "text.txt"),), holdout=0.25))
        config = replace(config, model=replace(config.model, max_length=5), training=TrainingConfig(batch_tokens=17))
        task = LanguageModelling(config, tmp_path / "run")
        batch = task.batch(np.array([2, 10, 7]))
        ids = [task.tokenizer.encode(text) for text in ("cdefg", "abcde", "hijab")]
        later = [task.tokenizer.encode(text) for text in ("defgh", "bcdef", "ijabc")]
        assert torch.equal(batch.ids, torch.tensor(ids))
        assert torch.equal(batch.target, torch.tensor(later))
        assert task.count(batch) == 15
        assert len(task.worst()) == 17 // 5  # rows
        assert task.describe([12]) == ["token 12: cdefg"]
        assert len(task.stores["train"].tokens), len(task.stores["dev"].tokens) == (60, 20)

    def test_the_loss_is_that_of_all_logits(self) -> None:
        model = random_model()
        ids = torch.tensor([[4, 5, 6], [7, 8, 9]])
        target = torch.tensor([[5, 6, 11], [8, 9, 4]])
        logits = model.model(ids)
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
        torch.testing.assert_close(window_loss(model.model, ids, target), expected)

    @pytest.mark.parametrize("n_tokens", [2, 16, 17, 18, 33, 50])
    def test_validation_predicts_every_token_but_the_first_once(self, n_tokens: int) -> None:
        model = random_model()
        tokens = np.array([4 + (7 * i * i) % 11 for i in range(n_tokens)], dtype=np.uint16)
        total = 0.0
        for i in range(1, n_tokens):
            first = (i - 1) // CONTEXT * CONTEXT  # of the window that predicts token i
            logits = model.logits(torch.tensor([tokens[first:i].tolist()]))[0, -1]
            total -= torch.log_softmax(logits, 0)[tokens[i]].item()
        assert mean_loss(model.model.eval(), tokens, CONTEXT) == pytest.approx(total / (n_tokens - 1), abs=1e-5)

    def test_a_run_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        (tmp_path / "round.txt").write_text(ROUND * 20, encoding="utf-8")
        config = run_config(
            DataConfig(train=(str(tmp_path / "round.txt"),), holdout=0.2),
            optimizer=OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=3),
        )
        config = replace(config, model=replace(config.model, dropout=0.2))
        short = replace(config, training=replace(config.training, steps=5, validate_every=0))
        train(short, tmp_path / "stopped")
        longer = replace(short, training=replace(short.training, steps=11))
        train(longer, tmp_path / "stopped")
        train(longer, tmp_path / "whole")
        left, right = (weights_of(tmp_path / name) for name in ("stopped", "whole"))
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


def weights_of(run: Path) -> dict[str, Tensor]:
    """Of the checkpoint after step 11."""
    return load_file(run / "checkpoints" / "step-00000011" / "model.safetensors")


class TestDocuments:
    def test_each_is_followed_by_the_end_token(self, stories: Path) -> None:
        model, store = pellucid.load(stories), Store.open(stories / "data" / "train")
        expected = [*model.tokenizer.encode("one fox"), 3, *model.tokenizer.encode("two hens"), 3]
        assert store.tokens[: len(expected)].tolist() == expected

    def test_a_document_is_ended_by_the_model(self, stories: Path) -> None:
        model = pellucid.load(stories)
        assert model.end == 3
        found = model.continuations(["one", "two h"], beams=1, tokens=30)
        assert [(text.text, text.reason) for text in found] == [(" fox", "end"), ("ens", "end")]
        assert all(-0.1 < text.score < 0.0 for text in found)

    def test_an_empty_prompt_begins_one(self, stories: Path) -> None:
        model = pellucid.load(stories)
        assert set(model.generate([""] * 12, temperature=1.0, seed=range(12), tokens=30)) >= {"one fox", "two hens"}

    def test_evaluation_counts_the_ends(self, stories: Path) -> None:
        model = pellucid.load(stories)
        ids = [*model.tokenizer.encode("two hens"), 3, *model.tokenizer.encode("one fox"), 3]
        expected = mean_loss(model.model, np.array(ids), CONTEXT)
        assert model.evaluate(["two hens", "one fox"]).values["loss"] == pytest.approx(expected, rel=1e-6)
        assert model.evaluate_split("dev").values["loss"] < 0.3


class TestGenerating:
    @pytest.mark.parametrize("prompt", ["a", "abc", "hgfedcbahgfedcba", "abcdefghij abcdefghij", "b" * 40])
    def test_a_text_longer_than_the_positions_goes_on_from_its_last_half(self, prompt: str) -> None:
        model = random_model()
        [found] = model.generate(prompt, tokens=45, **GREEDY)
        assert found == prompt + step_by_step(model, prompt, 45)

    @pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
    @pytest.mark.parametrize(
        "ways", [GREEDY, {"temperature": 1.3, "seed": 5}, {"top_k": 3, "top_p": 0.9}, {"beams": 3}], ids=str
    )
    def test_prompts_together_give_what_each_gives_alone(self, positions: str, ways: dict[str, Any]) -> None:
        model = random_model(positions)
        prompts = ["a", "bcd", "", "abcdefghijabcdef", "jihgfedcba jihgfedcba", "cab", "fade a bed"]
        together = model.generate(prompts, tokens=23, **ways)
        assert [model.generate(prompt, tokens=23, **ways)[0] for prompt in prompts] == together
        assert [len(text) - len(prompt) for text, prompt in zip(together, prompts, strict=True)] == [23] * len(prompts)

    def test_without_a_table_of_positions_nothing_is_cut(self, capsys: pytest.CaptureFixture[str]) -> None:
        model = random_model("rotary")
        ids = model.tokenizer.encode("abcdefghij" * 3)
        written: list[int] = []
        for _ in range(8):
            logits = model.logits(torch.tensor([[*ids, *written]]))[0, -1]
            written.append(4 + int(logits[4:].argmax()))
        assert model.generate("abcdefghij" * 3, tokens=8, **GREEDY) == ["abcdefghij" * 3 + model.tokenizer.decode(written)]
        assert capsys.readouterr().err == ""

    def test_seeds_decide_what_is_drawn(self) -> None:
        model = random_model()
        one, same, other = (model.generate("a", tokens=40, temperature=1.0, seed=seed) for seed in (1, 1, 2))
        assert one == same != other
        assert model.generate(["a", "a"], tokens=40, temperature=1.0, seed=[1, 2]) == [*one, *other]

    def test_after_the_positions_are_full_other_numbers_are_drawn(self) -> None:
        model = random_model("none")
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.zero_()  # every token as probable as any other: the text shows the random numbers
        model.model.decoder.positions.max_length = CONTEXT
        [text] = model.generate("a", tokens=40, temperature=1.0)
        first, second = text[1 : 1 + 8], text[1 + CONTEXT : 1 + CONTEXT + 8]
        assert first != second

    def test_scores_are_log_probabilities_over_the_penalty(self) -> None:
        model = random_model("none")
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.zero_()
        [found] = model.continuations(["a"], beams=1, tokens=7, length_penalty="power", alpha=1.0)
        assert found.score == pytest.approx(-math.log(model.tokenizer.vocabulary_size), rel=1e-6)
        assert (len(found.text), found.reason) == (7, "length")

    def test_a_running_text_does_not_end(self) -> None:
        model = random_model(bias=True)
        with torch.no_grad():
            assert model.model.head.bias is not None
            model.model.head.bias[3] = 100.0  # the end token, by far the most probable one
        assert model.end is None
        [found] = model.continuations(["a"], beams=1, tokens=5)
        assert (len(found.text), found.reason) == (5, "length")
        model.config = replace(model.config, data=DataConfig(train=("stories.jsonl.gz",)))
        [ended] = model.continuations(["a"], beams=1, tokens=5)
        assert (ended.text, ended.reason) == ("", "end")

    def test_an_empty_prompt_begins_after_a_new_line(self) -> None:
        model = random_model()
        assert "\n" + model.generate("", tokens=9, **GREEDY)[0] == model.generate("\n", tokens=9, **GREEDY)[0]

    def test_prompts_that_are_cut_or_not_known_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        random_model().generate(["a", "b" * 20, "aXYb"], tokens=1)
        assert capsys.readouterr().err.splitlines() == [
            "warning: prompt 2 has 20 tokens, only the last 16 are read (model.max_length)",
            "warning: prompt 3 has 2 tokens that the vocabulary does not know",
        ]

    def test_no_prompts_give_no_texts(self) -> None:
        assert random_model().generate([]) == []

    def test_mistakes_are_named(self) -> None:
        model = random_model()
        with pytest.raises(UsageError, match="nothing to write"):
            model.generate("a", tokens=0)
        with pytest.raises(UsageError, match="one seed"):
            model.generate(["a", "b"], temperature=1.0, seed=[1])
        with pytest.raises(UsageError, match="top_p"):
            model.generate("a", top_p=1.5)


class TestScoring:
    def test_each_token_has_its_log_probability(self) -> None:
        model = random_model()
        ids = model.tokenizer.encode("\nbad cab")
        logits = torch.log_softmax(model.logits(torch.tensor([ids[:-1]]))[0], -1)
        expected = [logits[i, ids[i + 1]].item() for i in range(7)]
        found = model.score("bad cab")
        assert [token for token, _ in found] == ["b", "a", "d", "▁", "c", "a", "b"]
        assert [value for _, value in found] == pytest.approx(expected, abs=1e-5)

    def test_in_a_long_text_half_a_context_stands_before_a_token(self) -> None:
        model = random_model()
        text = "abcdefghij badge face " * 3
        ids = model.tokenizer.encode("\n" + text)
        expected = []
        for i in range(1, len(ids)):
            first = 0 if i <= CONTEXT else (i - 1 - CONTEXT) // (CONTEXT // 2) * (CONTEXT // 2) + CONTEXT // 2
            assert first == 0 or i - first > CONTEXT // 2
            logits = model.logits(torch.tensor([ids[first:i]]))[0, -1]
            expected.append(torch.log_softmax(logits, 0)[ids[i]].item())
        assert [value for _, value in model.score(text)] == pytest.approx(expected, abs=1e-5)

    def test_an_evaluation_has_loss_perplexity_and_bits(self) -> None:
        model = random_model()
        text = "abcdefghij badge face " * 3
        expected = mean_loss(model.model.eval(), np.array(model.tokenizer.encode(text)), CONTEXT)
        found = model.evaluate(text)
        assert found.values == pytest.approx(
            {"loss": expected, "perplexity": math.exp(expected), "bits_per_character": expected / math.log(2)}
        )
        assert found.count == 5  # windows of 66 tokens
        assert model.evaluate(["bad cab", "face"]).values == model.evaluate("bad cab\nface\n").values

    def test_nothing_cannot_be_scored(self) -> None:
        with pytest.raises(DataError, match="nothing to score"):
            random_model().evaluate("a")


class TestMistakesInARecipe:
    def test_a_batch_holds_a_window_at_least(self, tmp_path: Path) -> None:
        config = run_config(DataConfig(train=("round.txt",)), training=TrainingConfig(batch_tokens=15))
        with pytest.raises(UsageError, match=r"training\.batch_tokens: a batch smaller than a window"):
            LanguageModelling(config, tmp_path)

    def test_a_text_needs_a_dev_split(self, tmp_path: Path) -> None:
        (tmp_path / "round.txt").write_text(ROUND * 24, encoding="utf-8")
        with pytest.raises(UsageError, match="holdout"):
            LanguageModelling(run_config(DataConfig(train=(str(tmp_path / "round.txt"),))), tmp_path / "run")


@pytest.mark.parametrize(
    ("recipe", "given", "expected"),
    [
        ({}, {}, (4, 0.0)),
        ({}, {"temperature": 0.7}, (1, 0.7)),
        ({}, {"top_k": 5}, (1, 1.0)),
        ({}, {"top_p": 0.5, "temperature": 0.2}, (1, 0.2)),
        ({"beams": 1, "temperature": 0.8}, {}, (1, 0.8)),
        ({"beams": 1, "temperature": 0.8}, {"top_k": 5}, (1, 0.8)),
        ({"beams": 1, "temperature": 0.8}, {"beams": 3}, (3, 0.0)),
        ({"beams": 1, "temperature": 0.8}, {"temperature": 0.0}, (1, 0.0)),
    ],
)
def test_who_asks_for_one_way_leaves_the_other(
    recipe: dict[str, Any], given: dict[str, Any], expected: tuple[int, float]
) -> None:
    found = Request(**given).decoding(DecodingConfig(**recipe))
    assert (found.beams, found.temperature) == expected


def test_ways_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="beams"):
        Request(beams=2, temperature=0.5)
