"""Denoising: a model that learns to restore what is hidden of a text, fills gaps, and serves as a start for other tasks."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file
from tokenizers import models, pre_tokenizers

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    CorruptionConfig,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    StartConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, UsageError
from pellucid.cli.main import main
from pellucid.decoding.minimum_bayes_risk import least_risk
from pellucid.model.build import build, initialise
from pellucid.tasks.corruption import spans
from pellucid.tasks.denoiser import Denoiser, corrupted
from pellucid.tasks.denoising import Denoising
from pellucid.tasks.prepared import seeded
from pellucid.tasks.start import take_weights, with_its_shape
from pellucid.tasks.train import train
from pellucid.tasks.translation import Translation
from pellucid.tasks.translator import Translator
from pellucid.text.imported import Controls, ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.step import seed_step

LETTERS = "abcdefghijklmnop"
GREEDY = {"beams": 1, "temperature": 0.0}


def alphabets(count: int, seed: int) -> list[str]:
    """Stretches of the alphabet: what a gap hides is certain, given the letters around it."""
    chooser, found = random.Random(seed), []
    for _ in range(count):
        length = chooser.randint(6, 9)
        first = chooser.randrange(len(LETTERS) - length + 1)
        found.append(" ".join(LETTERS[first : first + length]))
    return found


def write(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": 200, "dev": 20, "test": 20}.items()):
        (directory / f"{split}.txt").write_text("".join(f"{line}\n" for line in alphabets(count, seed)), encoding="utf-8")
    return directory


def run_config(corpus: Path, objective: Any, **sections: Any) -> RunConfig:
    stack = StackConfig(1, 4, 48)
    defaults: dict[str, Any] = {
        "model": ModelConfig(d_model=32, encoder=stack, decoder=stack, dropout=0.0, norm="pre", max_length=24),
        "text": TextConfig(tokenizer="word", vocabulary=60, min_frequency=1, mask=True, sentinels=5),
        "data": DataConfig(directory=str(corpus)),
        "training": TrainingConfig(steps=200, batch_tokens=512, validate_every=100, label_smoothing=0.0),
        "corruption": CorruptionConfig(objective=objective, share=0.4, mean_span=2.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.01, warmup=20, clip=1.0),
        "checkpoints": CheckpointConfig(every=100),
        "decoding": DecodingConfig(beams=1),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task="denoising", **{**defaults, **sections})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("alphabets"))


@pytest.fixture(scope="module", params=["spans", "infilling"])
def restored(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the alphabet; for reading only."""
    directory = tmp_path_factory.mktemp("restored")
    train(run_config(corpus, request.param), directory / "run")
    return directory / "run"


class TestTraining:
    def test_it_learns_to_fill_gaps(self, restored: Path) -> None:
        model = pellucid.load(restored)
        gaps = ["c d [MASK] g h i", "b c [MASK] f g [MASK] i j", "h [MASK] k l m [MASK] o"]
        assert model.generate(gaps) == ["c d e f g h i", "b c d e f g h i j", "h i j k l m n o"]
        scores = model.evaluate_split("test")
        assert scores.count == 20
        assert scores.values["loss"] < 0.5  # an even chance among 16 letters: 2.8

    def test_what_is_loaded_scores_as_it_did_in_training(self, restored: Path) -> None:
        rows = [json.loads(line) for line in (restored / "metrics.jsonl").read_text().splitlines()]
        best = min(row["dev_loss"] for row in rows if "dev_loss" in row)
        model = pellucid.load(restored)
        task = Denoising(model.config, restored)
        assert task.validate(model.model, lambda: False).metrics["loss"] == pytest.approx(best, abs=1e-5)

    def test_samples_show_gap_and_text(self, restored: Path) -> None:
        shown = [line for line in (restored / "samples.txt").read_text().splitlines() if " -> " in line]
        assert len(shown) == 4 * 2  # of two validations
        assert all(line.count("[MASK]") == 1 for line in shown)

    def test_a_run_goes_on_bit_for_bit(self, corpus: Path, tmp_path: Path) -> None:
        constant = OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=3)
        config = run_config(corpus, "infilling", optimizer=constant)
        short = replace(config, training=replace(config.training, steps=5, validate_every=0))
        longer = replace(short, training=replace(short.training, steps=11))
        for one, name in ((short, "stopped"), (longer, "stopped"), (longer, "whole")):
            train(one, tmp_path / name)
        left, right = (
            load_file(tmp_path / name / "checkpoints" / "step-00000011" / "model.safetensors") for name in ("stopped", "whole")
        )
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []

    @pytest.mark.parametrize("objective", ["spans", "infilling"])
    def test_every_step_hides_other_parts_and_every_validation_the_same(
        self, objective: str, corpus: Path, tmp_path: Path
    ) -> None:
        task = Denoising(run_config(corpus, objective), tmp_path)

        def at_step(seed: int, step: int) -> list[list[int]]:
            seed_step(seed, step)
            return task.batch(np.arange(30)).source.tolist()

        assert at_step(1, 4) == at_step(1, 4)
        others = [at_step(1, 5), at_step(2, 4)]
        assert all(at_step(1, 4) != other for other in others)
        first, second = (task.batch(np.arange(10), "dev", seeded(3)) for _ in range(2))
        assert first.source.tolist() == second.source.tolist()
        assert first.target_output.tolist() == second.target_output.tolist()

    def test_a_batch_is_what_the_objective_makes_of_its_texts(self, corpus: Path, tmp_path: Path) -> None:
        task = Denoising(run_config(corpus, "spans"), tmp_path)
        tokenizer, end = task.tokenizer, task.tokenizer.end
        batch = task.batch(np.array([3]), "dev", seeded(7))
        ids = task.stores["dev"].column(3, 0).tolist()
        source, target = spans(ids, tokenizer.sentinels, 0.4, 2.0, seeded(7))
        assert batch.source.tolist() == [[*source, end]]
        assert batch.target_input.tolist() == [[tokenizer.start, *target]]
        assert batch.target_output.tolist() == [*target, end]
        assert task.count(batch) == len(target) + 1


@pytest.fixture(scope="class")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of the first and last word of a text, and the text: a few of them, for one who knows the alphabet."""
    pairs = tmp_path_factory.mktemp("pairs")
    for split in ("train", "dev"):
        lines = (f"{line[0]} {line[-1]}\t{line}\n" for line in alphabets(40, 5))
        (pairs / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return pairs


class TestFineTuning:
    """Translation that begins with the weights of a denoiser."""

    def config(self, pairs: Path, steps: int, start: Path | None) -> RunConfig:
        config = run_config(pairs, "mask", start=StartConfig(model=None if start is None else str(start)))
        training = replace(config.training, steps=steps, batch_tokens=256, validate_every=0, log_every=10)
        return replace(config, task="translation", training=training)

    def test_every_weight_and_the_vocabulary_are_taken(self, restored: Path, ends: Path, tmp_path: Path) -> None:
        base = pellucid.load(restored)
        config = with_its_shape(self.config(ends, 1, restored))
        assert config.text == base.config.text
        task = Translation(config, tmp_path)
        assert [tokenizer.fingerprint for tokenizer in task.tokenizers] == [base.tokenizer.fingerprint] * 2
        model: Any = build(task.config.model)
        initialise(model, 5)
        take_weights(model, config, tmp_path)
        taken, expected = model.state_dict(), base.model.state_dict()
        assert taken.keys() == expected.keys()
        assert [name for name in taken if not torch.equal(taken[name], expected[name])] == []

    def test_it_learns_sooner_than_from_nothing(self, restored: Path, ends: Path, tmp_path: Path) -> None:
        losses = {}
        for name, start in (("begun", restored), ("nothing", None)):
            train(self.config(ends, 40, start), tmp_path / name)
            rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
            losses[name] = [row["train_loss"] for row in rows if "train_loss" in row]
        assert all(begun < nothing for begun, nothing in zip(losses["begun"], losses["nothing"], strict=True))
        assert losses["begun"][-1] < 0.5 * losses["nothing"][-1]
        translator = pellucid.load(tmp_path / "begun")
        assert type(translator) is Translator
        assert translator.translate("c h") == ["c d e f g h"]


class TestUsing:
    def test_texts_together_give_what_each_gives_alone(self, restored: Path) -> None:
        model = pellucid.load(restored)
        texts = ["c d [MASK] g h i", "", "[MASK] f g h", "a [MASK] e f g h i j k l m n o p", "a b c", "[MASK]"]
        for ways in (GREEDY, {"temperature": 1.5, "seed": 4}, {"beams": 3}):
            together = model.generate(texts, **ways)
            assert [model.generate(text, **ways)[0] for text in texts] == together
            assert together[1] == ""

    def test_seeds_decide_what_is_drawn(self, restored: Path) -> None:
        model = pellucid.load(restored)
        text = "c [MASK] h i [MASK] p"
        found = {model.generate(text, temperature=4.0, seed=seed)[0] for seed in range(6)}
        assert len(found) > 1
        assert model.generate([text, text], temperature=4.0, seed=[2, 3]) == [
            model.generate(text, temperature=4.0, seed=seed)[0] for seed in (2, 3)
        ]

    def test_a_score_and_a_reason_come_along(self, restored: Path) -> None:
        model = pellucid.load(restored)
        [[whole]] = model.generate_lines(["c d [MASK] g h i"], beams=1)
        [[cut]] = model.generate_lines(["c d [MASK] g h i"], beams=1, tokens=1)
        assert (whole.text, whole.reason, cut.reason) == ("c d e f g h i", "end", "length")
        assert whole.score < 0.0

    def test_several_outputs_and_banned_words(self, restored: Path) -> None:
        model = pellucid.load(restored)
        [outputs] = model.generate_lines(["c d [MASK] g h i"], beams=4, n_best=3)
        assert [outputs[0].text, len(outputs)] == ["c d e f g h i", 3]
        assert [one.score for one in outputs] == sorted((one.score for one in outputs), reverse=True)
        for [output] in model.generate_lines(["b [MASK] h", "c d [MASK] g"], ban=["e"]):
            assert "e" not in output.text.split()

    def test_the_one_of_several_that_agrees_best(self, restored: Path) -> None:
        model = pellucid.load(restored)
        texts = ["c [MASK] h i [MASK] p", "", "b [MASK] h"]
        ways: dict[str, Any] = {"samples": 4, "temperature": 3.0, "seed": 2}
        drawn = [model.generate(texts, temperature=3.0, seed=seed) for seed in range(2, 6)]
        found = model.generate(texts, **ways)
        assert found == [some[least_risk(some)] for some in zip(*drawn, strict=True)]
        assert found == [model.generate(text, **ways)[0] for text in texts]

    def test_what_is_forced_belongs_to_whole_texts(self, restored: Path) -> None:
        """Of a model that writes only what stands in the gaps it could not be told where it comes."""
        model = pellucid.load(restored)
        for forced in ({"prefix": "h i"}, {"glossary": ["h i"]}):
            if model.objective == "spans":
                with pytest.raises(UsageError, match="what is filled into gaps"):
                    model.generate("c d [MASK] g", **forced)
            else:
                assert "h i" in model.generate("c d [MASK] g", **forced)[0]
        with pytest.raises(UsageError, match="gaps, which are known only together"):
            model.stream("c d [MASK] g")
        with pytest.raises(UsageError, match="a model that restores texts has no use for it"):
            model.generate("c d [MASK] g", scores=True)

    def test_of_a_long_text_the_beginning_is_read_and_that_is_said(
        self, restored: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = pellucid.load(restored)
        long = " ".join(["a"] * 30)
        written = model.generate([long + " [MASK]", "c d [MASK] g h i"])
        assert "text 1 has 31 tokens, only the first 23 are read" in capsys.readouterr().err
        assert written[1] == "c d e f g h i"

    def test_an_evaluation_hides_the_same_every_time(self, restored: Path) -> None:
        model = pellucid.load(restored)
        once, again = (model.evaluate_texts(["a b c d e f", "d e f g h"]).values for _ in range(2))
        assert once == again
        assert once["perplexity"] == pytest.approx(np.exp(once["loss"]))
        with pytest.raises(DataError, match="nothing to score"):
            model.evaluate_texts([])

    def test_pairs_of_texts_are_scored_as_a_translator_does(self, restored: Path) -> None:
        model = pellucid.load(restored)
        found = model.evaluate([("a b c", "a b c"), ("d e", "d e f")], beams=1)
        assert found.outputs == model.translate(["a b c", "d e"], beams=1)
        assert found.scores.keys() == {"bleu", "chrf"}

    def test_mistakes_are_named(self, restored: Path) -> None:
        model = pellucid.load(restored)
        with pytest.raises(UsageError, match="one seed"):
            model.generate(["a", "b"], seed=[1])
        with pytest.raises(UsageError, match="nothing to write"):
            model.generate("a", tokens=0)
        if model.objective == "spans":
            with pytest.raises(UsageError, match="more gaps than the vocabulary has sentinels"):
                model.generate("[MASK] " * 6)


class TestCommands:
    """What a shell sees, called in this process."""

    def run(self, *arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        assert isinstance(left.value.code, int)
        return left.value.code

    def test_gaps_are_filled(self, restored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "gaps.txt"
        file.write_text("b c [MASK] f g [MASK] i j\n\n", encoding="utf-8")
        assert self.run("generate", restored, "c d [MASK] g h i", "--file", file) == 0
        assert capsys.readouterr().out == "c d e f g h i\nb c d e f g h i j\n\n"

    def test_an_evaluation_prints_loss_and_perplexity(self, restored: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("evaluate", restored, "--split", "dev", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found.keys() == {"split", "loss", "perplexity", "examples"}
        assert found["loss"] == pellucid.load(restored).evaluate_split("dev").values["loss"]

    def test_without_a_text_there_is_nothing_to_fill(self, restored: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("generate", restored) == 2
        assert "give a text with gaps" in capsys.readouterr().err


class TestGaps:
    """How a text with gaps is read, by a tokenizer that gives every word its space."""

    TEXT = TextConfig(tokenizer="bpe", vocabulary=300, min_frequency=1, sentinels=4)

    def denoiser(self, objective: Any = "spans") -> Denoiser:
        lines = ["the cat sat on the mat.", "a cat, an unbeatable one"]
        tokenizer = Tokenizer.train(lines, replace(self.TEXT, mask=objective == "infilling"))
        config = run_config(Path("nowhere"), objective)
        size = tokenizer.vocabulary_size
        model: Any = build(replace(config.model, source_vocabulary=size, target_vocabulary=size))
        initialise(model, 1)
        return Denoiser(model, (tokenizer, tokenizer), config)

    @pytest.mark.parametrize(
        ("text", "whole", "filling"),
        [
            ("the [MASK] sat", "the cat sat", " cat"),
            ("the cat [MASK].", "the cat sat on.", " sat on"),
            ("[MASK] cat", "the cat", " the"),
            ("the cat[MASK] one", "the cat, an one", ", an"),
            ("the cat [MASK]", "the cat sat", " sat"),
        ],
    )
    def test_around_a_gap_are_the_tokens_of_the_whole_text(self, text: str, whole: str, filling: str) -> None:
        denoiser = self.denoiser()
        tokenizer = denoiser.tokenizer
        parts = denoiser._parts(text)
        inside = tokenizer.encode("a" + filling)[len(tokenizer.encode("a")) :]
        assert [*parts[0], *inside, *parts[1]] == tokenizer.encode(whole)
        sentinels = tokenizer.sentinels
        assert denoiser._with_marks(parts) == [*parts[0], sentinels[0], *parts[1]]
        assert denoiser._text(parts, [sentinels[0], *inside, sentinels[1]]) == whole

    def test_inside_a_word_no_space_is_made_up(self) -> None:
        denoiser = self.denoiser()
        parts = denoiser._parts("un[MASK]able one")
        assert denoiser._text(parts, []) == "unable one"

    def test_fillings_are_found_by_their_sentinels(self) -> None:
        denoiser = self.denoiser()
        first, second, third = denoiser.tokenizer.sentinels[:3]
        cat, mat = (denoiser.tokenizer.encode(word) for word in ("cat", "mat"))
        parts = denoiser._parts("the [MASK] sat on a [MASK].")
        assert denoiser._text(parts, [first, *cat, second, *mat, third]) == "the cat sat on a mat."
        assert denoiser._text(parts, [second, *mat, third, *cat]) == "the sat on a mat."
        assert denoiser._text(parts, [*cat, first]) == "the sat on a."

    def test_without_gaps_and_in_infilling_the_text_is_what_is_written(self) -> None:
        spanned, infilled = self.denoiser(), self.denoiser("infilling")
        for model, text in ((spanned, "the cat"), (infilled, "the [MASK]")):
            parts = model._parts(text)
            assert model._text(parts, model.tokenizer.encode("a mat")) == "a mat"
        parts = infilled._parts("the [MASK] sat [MASK]")
        assert infilled._with_marks(parts).count(infilled.tokenizer.mask) == 2


class TestImportedVocabularies:
    WORDS: ClassVar = {
        "<s>": 0,
        "<pad>": 1,
        "</s>": 2,
        "<unk>": 3,
        "the": 4,
        "cat": 5,
        "sat": 6,
        "<mask>": 7,
        "<x0>": 8,
        "<x1>": 9,
    }

    def tokenizer(self, controls: Controls) -> ImportedTokenizer:
        library = tokenizers.Tokenizer(models.WordLevel(self.WORDS, unk_token="<unk>"))
        library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        library.add_special_tokens([word for word in self.WORDS if word.startswith("<")])
        return ImportedTokenizer(library.to_str(), controls)

    def test_as_bart_both_sides_have_start_and_end(self) -> None:
        controls = Controls(pad=1, unknown=3, start=2, end=2, mask=7, prefix=(0,), suffix=(2,))
        batch = corrupted([[4, 5, 6], [4]], self.tokenizer(controls), lambda ids, _: ([4, 7], list(ids)), 8, None)
        assert batch.source.tolist() == [[0, 4, 7, 2], [0, 4, 7, 2]]
        assert batch.source_mask is None
        assert batch.target_input.tolist() == [[2, 0, 4, 5, 6], [2, 0, 4, 2, 1]]
        assert batch.target_output.tolist() == [0, 4, 5, 6, 2, 0, 4, 2]
        assert batch.wanted.tolist() == [[True] * 5, [True, True, True, False, False]]

    def test_as_t5_both_sides_have_an_end(self) -> None:
        controls = Controls(pad=1, unknown=3, start=1, end=2, sentinels=(8, 9), suffix=(2,))
        tokenizer = self.tokenizer(controls)
        batch = corrupted([[4, 5, 6, 5]], tokenizer, lambda ids, _: ([4, 8, 5], [8, *ids[1:3], 9]), 5, None)
        assert batch.source.tolist() == [[4, 8, 5, 2]]
        assert batch.target_input.tolist() == [[1, 8, 5, 6, 9]]
        assert batch.target_output.tolist() == [8, 5, 6, 9, 2]

    @pytest.mark.parametrize(("extra", "objective"), [({"sentinels": (8, 9)}, "spans"), ({"mask": 7}, "infilling")])
    def test_the_vocabulary_shows_the_objective(self, extra: dict[str, Any], objective: str) -> None:
        tokenizer = self.tokenizer(Controls(pad=1, unknown=3, start=1, end=2, suffix=(2,), **extra))
        config = run_config(Path("nowhere"), "mask")
        size = tokenizer.vocabulary_size
        model: Any = build(replace(config.model, source_vocabulary=size, target_vocabulary=size))
        initialise(model, 1)
        denoiser = Denoiser(model, (tokenizer, tokenizer), config)
        assert denoiser.objective == objective
        assert len(denoiser.generate(["the [MASK] sat", "the cat"])) == 2


class TestMistakesInARecipe:
    @pytest.mark.parametrize(
        ("objective", "text", "key"),
        [
            ("mask", {}, r"corruption\.objective"),
            ("spans", {"sentinels": 1}, r"text\.sentinels"),
            ("infilling", {"mask": False}, r"text\.mask"),
        ],
    )
    def test_the_key_is_named_and_no_vocabulary_is_kept(
        self, corpus: Path, tmp_path: Path, objective: str, text: dict[str, Any], key: str
    ) -> None:
        config = run_config(corpus, objective)
        with pytest.raises(UsageError, match=key):
            Denoising(replace(config, text=replace(config.text, **text)), tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_model_to_start_from_may_lack_the_tokens(self, corpus: Path, tmp_path: Path) -> None:
        config = run_config(corpus, "spans")
        few = replace(config, text=replace(config.text, sentinels=0), corruption=CorruptionConfig(objective="infilling"))
        train(replace(few, training=replace(few.training, steps=1)), tmp_path / "run")
        with pytest.raises(UsageError, match=r"text\.sentinels"):
            train(replace(config, start=StartConfig(model=str(tmp_path / "run"))), tmp_path / "other")
