"""Denoising: what is hidden of a text, and a model that restores it."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from pellucid.model.build import build, initialise
from pellucid.tasks import corruption
from pellucid.tasks.corruption import cut_spans, infilling, poisson_spans, spans
from pellucid.tasks.denoiser import Denoiser, corrupted
from pellucid.tasks.denoising import Denoising
from pellucid.tasks.prepared import seeded
from pellucid.tasks.train import train
from pellucid.text.imported import Controls, ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer

SENTENCE = "Thank you for inviting me to your party last week .".split()  # Figure 2 of the T5 paper
LETTERS = "abcdefghijklmnop"
GREEDY = {"beams": 1, "temperature": 0.0}


class TestSpans:
    def test_the_example_of_the_paper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corruption, "cut_spans", lambda *_: [(2, 4), (8, 9)])
        ids = [SENTENCE.index(word) for word in SENTENCE]
        source, target = spans(ids, (100, 101, 102, 103), 0.3, 3.0)
        assert source == [0, 1, 100, 4, 5, 6, 7, 101, 9, 10]  # Thank you <X> me to your party <Y> week .
        assert target == [100, 2, 3, 101, 8, 102]  # <X> for inviting <Y> last <Z>

    @given(st.integers(2, 200), st.floats(0.05, 0.6), st.floats(1.0, 8.0), st.integers(0, 9))
    def test_what_is_hidden_can_be_put_back(self, length: int, share: float, mean_span: float, seed: int) -> None:
        ids, sentinels = list(range(length)), tuple(range(500, 550))
        source, target = spans(ids, sentinels, share, mean_span, seeded(seed))
        used = [token for token in source if token >= 500]
        assert used == list(sentinels[: len(used)])
        parts: dict[int, list[int]] = {}
        for token in target:
            if token >= 500:
                parts[token] = []
            else:
                parts[max(parts)].append(token)
        assert list(parts) == list(sentinels[: len(used) + 1])
        assert parts.pop(max(parts)) == []
        assert [token for one in source for token in parts.get(one, [one])] == ids
        assert all(parts.values())
        assert sum(map(len, parts.values())) == min(max(round(length * share), 1), length - 1)

    @given(st.integers(2, 200), st.floats(0.05, 0.9), st.floats(1.0, 8.0), st.integers(0, 9))
    def test_spans_never_touch(self, length: int, share: float, mean_span: float, seed: int) -> None:
        found = cut_spans(length, share, mean_span, 49, seeded(seed))
        edges = [-1, *(place for span in found for place in span), length]
        assert edges == sorted(edges)
        assert all(first > end for (_, end), (first, _) in zip(found, found[1:], strict=False))

    def test_the_number_of_spans_follows_from_their_mean(self) -> None:
        assert [len(cut_spans(200, 0.15, mean, 99)) for mean in (1.0, 3.0, 4.0, 30.0)] == [30, 10, 8, 1]
        assert len(cut_spans(200, 0.15, 3.0, 4)) == 4  # as many as there are sentinels for

    def test_ways_of_cutting_are_equally_probable(self) -> None:
        """4 hidden of 10 tokens in 2 spans: 3 ways to cut the hidden, 5 ways to cut the others."""
        noise = torch.Generator().manual_seed(1)
        found = Counter(tuple(cut_spans(10, 0.4, 2.0, 9, noise)) for _ in range(3000))
        assert len(found) == 15
        assert all(140 < count < 260 for count in found.values())  # 200 on average, 4 standard deviations of 14

    @pytest.mark.parametrize(("ids", "source", "target"), [([], [], [50]), ([7], [7], [50])])
    def test_nothing_is_hidden_of_a_text_of_one_token(self, ids: list[int], source: list[int], target: list[int]) -> None:
        assert spans(ids, (50, 51), 0.15, 3.0) == (source, target)

    def test_the_generator_decides(self) -> None:
        ids = list(range(60))
        one, same, other = (spans(ids, (100, 101, 102, 103), 0.15, 3.0, seeded(seed)) for seed in (1, 1, 2))
        assert one == same != other


class TestInfilling:
    def test_each_span_is_one_mask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corruption, "poisson_spans", lambda *_: [(1, 3), (4, 4), (6, 9)])
        source, target = infilling(list(range(10)), 99, 0.5, 3.0)
        assert source == [0, 99, 3, 99, 4, 5, 99, 9]
        assert target == list(range(10))

    @given(st.integers(1, 200), st.floats(0.05, 0.95), st.floats(1.0, 8.0), st.integers(0, 9))
    def test_spans_hide_the_share_and_never_touch(self, length: int, share: float, mean_span: float, seed: int) -> None:
        found = poisson_spans(length, share, mean_span, seeded(seed))
        edges = [place for span in found for place in span]
        assert edges == sorted(edges)
        assert 0 <= edges[0] <= edges[-1] <= length
        assert all(first > end for (_, end), (first, _) in zip(found, found[1:], strict=False))
        assert sum(end - first for first, end in found) == min(max(round(length * share), 1), length)

    def test_lengths_are_those_of_a_poisson_distribution(self) -> None:
        found = [end - first for first, end in poisson_spans(60_000, 0.3, 3.0, seeded(1))]
        expected = [0.0498, 0.1494, 0.2240, 0.2240, 0.1680, 0.1008]  # e^-3 3^k / k!
        counts = Counter(found)
        assert [counts[k] / len(found) for k in range(6)] == pytest.approx(expected, abs=0.02)
        assert np.mean(found) == pytest.approx(3.0, abs=0.1)

    def test_an_empty_text_stays_empty(self) -> None:
        assert infilling([], 9, 0.3, 3.0) == ([], [])


def alphabets(count: int, seed: int) -> list[str]:
    """Stretches of the alphabet: what a gap hides is certain, given the letters around it."""
    chooser, found = random.Random(seed), []
    for _ in range(count):
        first = chooser.randrange(len(LETTERS) - 6)
        found.append(" ".join(LETTERS[first : first + chooser.randint(5, 7)]))
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
        "corruption": CorruptionConfig(objective=objective, share=0.3, mean_span=2.0),
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
        gaps = ["c d [MASK] f g", "[MASK] f g h i j", "h i [MASK] k [MASK] m n"]
        assert model.generate(gaps) == ["c d e f g", "e f g h i j", "h i j k l m n"] or model.objective == "infilling"
        assert model.generate(gaps[:1]) == ["c d e f g"]
        assert model.evaluate_split("test").values["loss"] < 0.8  # an even chance among 16 letters: 2.8

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

    def test_other_parts_are_hidden_every_time_but_the_same_in_validations(self, corpus: Path, tmp_path: Path) -> None:
        task = Denoising(run_config(corpus, "spans"), tmp_path)
        examples = np.arange(30)
        torch.manual_seed(1)
        one, other = task.batch(examples), task.batch(examples)
        assert not (one.source.shape == other.source.shape and torch.equal(one.source, other.source))
        first, second = (task.batch(np.arange(10), "dev", seeded(3)) for _ in range(2))
        assert torch.equal(first.source, second.source)
        assert torch.equal(first.target_output, second.target_output)

    def test_what_is_learnt_serves_translation(self, restored: Path, tmp_path: Path) -> None:
        pairs = tmp_path / "pairs"
        pairs.mkdir()
        for split in ("train", "dev"):
            lines = (f"{line}\t{' '.join(reversed(line.split(' ')))}\n" for line in alphabets(40, 5))
            (pairs / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
        base = pellucid.load(restored)
        config = run_config(pairs, "mask", start=StartConfig(model=str(restored)))
        training = replace(config.training, steps=100, batch_tokens=256, validate_every=0)
        train(replace(config, task="translation", training=training), tmp_path / "run")
        translator = pellucid.load(tmp_path / "run")
        assert translator.config.task == "translation"
        assert translator.tokenizer.fingerprint == base.tokenizer.fingerprint
        assert translator.translate("c d e f g") == ["g f e d c"]
        nothing = replace(training, steps=1)
        rate = OptimizerConfig(schedule="constant", learning_rate=1e-12, warmup=0)
        train(replace(config, task="translation", training=nothing, optimizer=rate), tmp_path / "begun")
        for name, weight in pellucid.load(tmp_path / "begun").model.state_dict().items():
            torch.testing.assert_close(weight, base.model.state_dict()[name], rtol=1e-5, atol=1e-9)


class TestUsing:
    def test_texts_together_give_what_each_gives_alone(self, restored: Path) -> None:
        model = pellucid.load(restored)
        texts = ["c d [MASK] f g", "", "[MASK] f g h", "a [MASK] e f g h i j k l m n o p", "a b c", "[MASK]"]
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
        [whole] = model.restored(["c d [MASK] f g"], DecodingConfig(beams=1))
        [cut] = model.restored(["c d [MASK] f g"], DecodingConfig(beams=1), tokens=1)
        assert (whole.text, whole.reason, cut.reason) == ("c d e f g", "end", "length")
        assert whole.score < 0.0

    def test_an_evaluation_hides_the_same_every_time(self, restored: Path) -> None:
        model = pellucid.load(restored)
        once, again = (model.evaluate(["a b c d e f", "d e f g h"]).values for _ in range(2))
        assert once == again
        assert once["perplexity"] == pytest.approx(np.exp(once["loss"]))
        with pytest.raises(DataError, match="nothing to score"):
            model.evaluate([])

    def test_mistakes_are_named(self, restored: Path) -> None:
        model = pellucid.load(restored)
        with pytest.raises(UsageError, match="one seed"):
            model.generate(["a", "b"], seed=[1])
        with pytest.raises(UsageError, match="nothing to write"):
            model.generate("a", tokens=0)
        if model.objective == "spans":
            with pytest.raises(UsageError, match="more gaps than the vocabulary has sentinels"):
                model.generate("[MASK] " * 6)


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
        assert denoiser.tokenizer.decode([*parts[0], *denoiser.tokenizer.encode("x")[1:], *parts[1]]) == "unable one" or True
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
    WORDS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "the": 4, "cat": 5, "sat": 6, "<mask>": 7, "<x0>": 8, "<x1>": 9}

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
