"""The tasks of an encoder that stands alone, each trained at toy size, saved, loaded and used."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    CorruptionConfig,
    DataConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    StartConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.config_rules import ConfigProblems
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.model.build import build, initialise
from pellucid.model.lora import lora, plain_weights
from pellucid.tasks.classification import Classification, Classified, Classifier, averaged
from pellucid.tasks.degrees import degree_loss, degree_of, degree_probabilities
from pellucid.tasks.labels import Labels
from pellucid.tasks.masked_lm import hide
from pellucid.tasks.on_encoder import target_loss
from pellucid.tasks.train import train

GOOD, BAD, PLAIN = ["good", "fine", "great"], ["bad", "poor", "dull"], ["film", "plot", "actor", "scene", "the", "a"]


def reviews(count: int, seed: int, labels: Sequence[str] = ("neg", "pos")) -> list[tuple[str, str]]:
    """Plain words with as many good ones among them as the label says, and bad ones for the rest."""
    chooser, found = random.Random(seed), []
    for _ in range(count):
        degree = chooser.randrange(len(labels))
        telling = [chooser.choice(GOOD) for _ in range(degree)]
        telling += [chooser.choice(BAD) for _ in range(len(labels) - 1 - degree)]
        words = telling + [chooser.choice(PLAIN) for _ in range(chooser.randint(1, 5))]
        chooser.shuffle(words)
        found.append((" ".join(words), labels[degree]))
    return found


def write(directory: Path, rows: dict[str, list[tuple[str, str]]]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for split, pairs in rows.items():
        (directory / f"{split}.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in pairs), encoding="utf-8")
    return directory


def run_config(corpus: Path, task: str, **sections: Any) -> RunConfig:
    model = ModelConfig(
        architecture="encoder",
        d_model=16,
        encoder=StackConfig(1, 2, 24),
        dropout=0.0,
        norm="pre",
        tie="all" if task == "masked_lm" else "none",
        max_length=16,
        head={
            "classification": HeadConfig(pool="mean", bias=True),
            "masked_lm": HeadConfig(transform="norm", bias=True),
            "tagging": HeadConfig(bias=True),
        }[task],
    )
    defaults: dict[str, Any] = {
        "model": model,
        "text": TextConfig(tokenizer="word", vocabulary=40, min_frequency=1),
        "data": DataConfig(directory=str(corpus)),
        "training": TrainingConfig(steps=60, batch_tokens=256, validate_every=30, label_smoothing=0.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.02, warmup=10),
        "checkpoints": CheckpointConfig(every=30),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task=task, **{**defaults, **sections})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tells good reviews from bad ones; for reading only."""
    directory = tmp_path_factory.mktemp("classified")
    corpus = write(directory / "corpus", {"train": reviews(200, 1), "dev": reviews(40, 2), "test": reviews(40, 3)})
    train(run_config(corpus, "classification", corruption=CorruptionConfig(drop=0.1)), directory / "run")
    return directory / "run"


class TestClassification:
    def test_it_learns_which_words_tell(self, classified: Path) -> None:
        classifier = pellucid.load(classified)
        assert classifier.evaluate_split("test").values["accuracy"] >= 95.0

    def test_every_class_has_a_probability_and_its_name(self, classified: Path) -> None:
        classifier = pellucid.load(classified)
        assert classifier.labels == ("neg", "pos")
        good, bad = classifier.classify(["the great film", "a dull dull plot"])
        assert (good.label, bad.label) == ("pos", "neg")
        assert set(good.probabilities) == {"neg", "pos"}
        assert sum(good.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
        assert good.degree is None

    def test_a_text_alone_is_what_it_is_in_a_batch(self, classified: Path) -> None:
        classifier = pellucid.load(classified)
        texts = [text for text, _ in reviews(30, 5)] + [""]
        together = classifier.classify(texts)
        for text, found in zip(texts, together, strict=True):
            [alone] = classifier.classify(text)
            assert alone.probabilities == pytest.approx(found.probabilities, abs=1e-6)

    def test_an_unknown_label_is_named(self, classified: Path) -> None:
        with pytest.raises(DataError, match="no such class") as caught:
            pellucid.load(classified).evaluate([("a film", "so-so")])
        assert "neg, pos" in str(caught.value)
        with pytest.raises(DataError, match="nothing to score"):
            pellucid.load(classified).evaluate([])

    def test_logits_are_the_models(self, classified: Path) -> None:
        classifier = pellucid.load(classified)
        ids = torch.tensor([[2, 5, 6, 3]])
        with torch.inference_mode():
            assert torch.equal(classifier.logits(ids), classifier.model(ids))

    def test_going_on_gives_the_same_bits(self, tmp_path: Path) -> None:
        corpus = write(tmp_path / "corpus", {"train": reviews(60, 1), "dev": reviews(10, 2)})
        optimizer = OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=1)
        config = run_config(corpus, "classification", corruption=CorruptionConfig(drop=0.3), optimizer=optimizer)
        config = replace(config, text=replace(config.text, joint=False))  # one tokenizer, whatever this says
        short = replace(config, training=replace(config.training, steps=30))
        train(config, tmp_path / "whole")
        train(short, tmp_path / "halves")
        train(config, tmp_path / "halves")
        whole, halves = (pellucid.load(tmp_path / name).model.state_dict() for name in ("whole", "halves"))
        assert [name for name in whole if not torch.equal(whole[name], halves[name])] == []


class TestRDrop:
    """Liang et al., 2021, equation 4: the cross-entropy of both readings, and alpha / 2 of both divergences."""

    def task(self, tmp_path: Path, drop: float = 0.0) -> tuple[Classification, torch.nn.Module]:
        corpus = write(tmp_path / "corpus", {"train": reviews(20, 1), "dev": reviews(6, 2)})
        training = TrainingConfig(steps=60, batch_tokens=256, label_smoothing=0.1, r_drop=3.0)
        config = run_config(corpus, "classification", training=training, corruption=CorruptionConfig(drop=drop))
        task = Classification(replace(config, model=replace(config.model, dropout=0.3)), tmp_path / "run")
        model = build(task.config.model)
        initialise(model, 1)
        return task, model

    def test_by_hand(self, tmp_path: Path) -> None:
        task, model = self.task(tmp_path, drop=0.4)
        batch = task.batch(np.arange(5))
        assert torch.equal(batch.target[:5], batch.target[5:])
        assert not torch.equal(batch.source[:5], batch.source[5:])  # other words are hidden
        torch.manual_seed(3)
        logits = model.train()(batch.source, source_mask=batch.source_mask)
        p, q = torch.log_softmax(logits, dim=1).chunk(2)
        both = sum(torch.nn.functional.kl_div(one, other, log_target=True, reduction="sum") for one, other in ((p, q), (q, p)))
        right = torch.nn.functional.cross_entropy(logits, batch.target, label_smoothing=0.1, reduction="sum")
        torch.manual_seed(3)
        torch.testing.assert_close(task.loss(model, batch), right + 3.0 * both / 2)
        assert task.count(batch) == 10

    def test_readings_that_agree_cost_nothing(self, tmp_path: Path) -> None:
        task, model = self.task(tmp_path)
        batch = task.batch(np.arange(5))
        plain = target_loss(model.eval(), batch, 0.1)
        torch.testing.assert_close(task.loss(model, batch), plain)

    def test_texts_that_are_not_learnt_from_are_read_once(self, tmp_path: Path) -> None:
        task, _ = self.task(tmp_path)
        assert len(task.batch(np.arange(5), "dev").target) == 5

    @pytest.mark.parametrize("changes", [{"task": "tagging"}, {"data": DataConfig(directory="x", labels="degrees")}])
    def test_it_is_for_classes_alone(self, changes: dict[str, Any]) -> None:
        asked: dict[str, Any] = {"task": "classification", "training": TrainingConfig(r_drop=1.0), **changes}
        with pytest.raises(ConfigProblems, match=r"training\.r_drop: compares the probabilities"):
            run_config(Path("x"), **asked)

    def test_it_learns(self, tmp_path: Path) -> None:
        rows = {"train": reviews(200, 1), "dev": reviews(40, 2), "test": reviews(40, 3)}
        training = TrainingConfig(steps=60, batch_tokens=256, validate_every=30, r_drop=2.0)
        config = run_config(write(tmp_path / "corpus", rows), "classification", training=training)
        train(replace(config, model=replace(config.model, dropout=0.2)), tmp_path / "run")
        assert pellucid.load(tmp_path / "run").evaluate_split("test").values["accuracy"] >= 95.0


@pytest.fixture(scope="module")
def others(classified: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Classifier]:
    """Two more, trained for a moment only: one smaller and with letters for tokens, one with degrees for classes."""
    directory = tmp_path_factory.mktemp("others")
    short = TrainingConfig(steps=4, batch_tokens=256, validate_every=4)
    letters = TextConfig(tokenizer="character", vocabulary=40, min_frequency=1)
    small = ModelConfig(
        architecture="encoder",
        d_model=8,
        encoder=StackConfig(1, 1, 8),
        tie="none",
        max_length=64,
        head=HeadConfig(pool="mean", bias=True),
    )
    train(
        run_config(classified.parent / "corpus", "classification", model=small, text=letters, training=short),
        directory / "small",
    )
    rows = {split: reviews(40, 1, ("0", "1", "2")) for split in ("train", "dev", "test")}
    data = DataConfig(directory=str(write(directory / "corpus", rows)), labels="degrees")
    train(run_config(directory / "corpus", "classification", data=data, training=short), directory / "degrees")
    return [pellucid.load(directory / "small"), pellucid.load(directory / "degrees")]


class TestEnsemble:
    def test_it_is_the_mean_of_what_all_hold_probable(self, classified: Path, others: list[Classifier]) -> None:
        classifier, texts = pellucid.load(classified), [text for text, _ in reviews(50, 8)]
        both = classifier.classify(texts, [others[0]])
        for found, first, second in zip(both, classifier.classify(texts), others[0].classify(texts), strict=True):
            mean = {name: (first.probabilities[name] + second.probabilities[name]) / 2 for name in ("neg", "pos")}
            assert found.probabilities == pytest.approx(mean, abs=1e-12)
            assert found.label == max(mean, key=mean.__getitem__)
            assert found.degree is None

    def test_its_score_is_that_of_the_mean(self, classified: Path, others: list[Classifier]) -> None:
        classifier, examples = pellucid.load(classified), reviews(50, 8)
        answers = classifier.classify([text for text, _ in examples], [others[0]])
        right = [answer.label == label for answer, (_, label) in zip(answers, examples, strict=True)]
        nats = [-math.log(answer.probabilities[label]) for answer, (_, label) in zip(answers, examples, strict=True)]
        found = classifier.evaluate(examples, [others[0]]).values
        assert found["accuracy"] == pytest.approx(100 * sum(right) / 50)
        assert found["loss"] == pytest.approx(sum(nats) / 50)
        assert found["loss"] != pytest.approx(classifier.evaluate(examples).values["loss"], rel=1e-3)

    def test_degrees_are_averaged(self, others: list[Classifier]) -> None:
        votes = [Classified("0", {"0": 0.7, "1": 0.3}, 0.3), Classified("1", {"0": 0.2, "1": 0.8}, 0.8)]
        [[found]] = [averaged([[vote] for vote in votes])]
        assert found.label == "1"
        assert found.probabilities == pytest.approx({"0": 0.45, "1": 0.55})
        assert found.degree == pytest.approx(0.55)
        [alone] = others[1].classify("a film")
        [twice] = others[1].classify("a film", [others[1]])
        assert twice.degree == pytest.approx(alone.degree)

    def test_models_that_do_not_fit_are_refused(self, classified: Path, others: list[Classifier], masked: Path) -> None:
        classifier = pellucid.load(classified)
        with pytest.raises(UsageError, match="different classes") as caught:
            classifier.classify("a film", [others[1]])
        assert "neg, pos" in str(caught.value)
        assert "degrees" in str(caught.value)
        with pytest.raises(UsageError, match="different tasks") as caught:
            classifier.evaluate_split("test", [pellucid.load(masked)])
        assert "masked_lm" in str(caught.value)


class TestDegrees:
    def test_the_loss_by_hand(self) -> None:
        """Two thresholds, degree 1: the first must be passed, the second not: -log s(2) - log(1 - s(-1))."""
        logits = torch.tensor([[2.0, -1.0]])
        expected = -torch.log(torch.sigmoid(torch.tensor(2.0))) - torch.log(1 - torch.sigmoid(torch.tensor(-1.0)))
        assert degree_loss(logits, torch.tensor([1])).item() == pytest.approx(expected.item(), abs=1e-6)

    def test_probabilities_sum_to_one_and_are_never_negative(self) -> None:
        logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)) * 3
        found = degree_probabilities(logits)
        assert found.shape == (50, 5)
        assert (found >= 0).all()
        torch.testing.assert_close(found.sum(1), torch.ones(50))
        torch.testing.assert_close(degree_of(logits), found @ torch.arange(5.0))

    def test_it_learns_an_order(self, tmp_path: Path) -> None:
        degrees = ("0", "1", "2")
        rows = {"train": reviews(200, 1, degrees), "dev": reviews(40, 2, degrees), "test": reviews(40, 3, degrees)}
        corpus = write(tmp_path / "corpus", rows)
        data = DataConfig(directory=str(corpus), labels="degrees")
        training = TrainingConfig(steps=80, batch_tokens=256, validate_every=40, metric="error", label_smoothing=0.0)
        train(run_config(corpus, "classification", data=data, training=training), tmp_path / "run")
        classifier = pellucid.load(tmp_path / "run")
        found = classifier.evaluate_split("test").values
        assert found["error"] <= 0.25
        assert found["correlation"] >= 0.9
        [best] = classifier.classify("great good film")
        assert best.degree == pytest.approx(2.0, abs=0.4)

    def test_what_is_no_degree_is_refused(self) -> None:
        assert Labels.of(["3", "1"], degrees=True).names == ("0", "1", "2", "3")
        with pytest.raises(DataError, match="no degree"):
            Labels.of(["1", "good"], degrees=True)
        for huge in ("10000", "9" * 5000):
            with pytest.raises(DataError, match="no degree"):
                Labels.of(["1", huge], degrees=True)
        with pytest.raises(DataError, match="two classes"):
            Labels.of(["1", "1"])


class TestLabels:
    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        labels = Labels.of(["é", "b", "a", "b"])
        labels.save(tmp_path)
        assert Labels.load(tmp_path).names == ("a", "b", "é")
        assert Labels.load(tmp_path).fingerprint == labels.fingerprint

    @pytest.mark.parametrize("content", ["{", "[1, 2]", '["a", "a"]', "{}"])
    def test_damaged(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "labels.json").write_text(content)
        with pytest.raises(ModelError, match="names of the classes"):
            Labels.load(tmp_path)


class TestMasking:
    def test_shares(self) -> None:
        """Of 40,000 tokens 15 % are chosen; of these 80 % are hidden, 10 % replaced, 10 % left: to 4 standard deviations."""
        source = torch.randint(5, 30, (400, 100), generator=torch.Generator().manual_seed(2))
        controls = torch.arange(30) < 5
        hidden, chosen = hide(source, controls, 4, 0.15, torch.Generator().manual_seed(3))
        n = int(chosen.sum())
        assert n / 40_000 == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / 40_000) ** 0.5)
        masked, same = (hidden[chosen] == 4), (hidden[chosen] == source[chosen])
        assert masked.float().mean().item() == pytest.approx(0.8, abs=4 * (0.16 / n) ** 0.5)
        # One replacement in 25 draws the same word again.
        assert same.float().mean().item() == pytest.approx(0.1 + 0.1 / 25, abs=4 * (0.1 / n) ** 0.5)
        assert torch.equal(hidden[~chosen], source[~chosen])
        assert not controls[hidden[chosen & (hidden != 4)]].any()

    def test_control_tokens_are_never_chosen(self) -> None:
        source = torch.tensor([[2, 7, 8, 3, 0, 0]]).expand(200, 6)
        _, chosen = hide(source, torch.arange(10) < 5, 4, 0.9)
        assert not chosen[:, [0, 3, 4, 5]].any()
        assert chosen[:, 1:3].any()


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model of sentences in which the first word tells the last one."""
    directory = tmp_path_factory.mktemp("masked")
    rows = [f"{a} is like {a.upper()}" for a in "abcdefgh" for _ in range(20)]
    (directory / "corpus").mkdir()
    for split in ("train", "dev", "test"):
        (directory / "corpus" / f"{split}.txt").write_text("".join(f"{row}\n" for row in rows))
    config = run_config(
        directory / "corpus",
        "masked_lm",
        text=TextConfig(tokenizer="word", vocabulary=40, min_frequency=1, mask=True),
        training=TrainingConfig(steps=400, batch_tokens=256, validate_every=100, label_smoothing=0.0),
        corruption=CorruptionConfig(share=0.3),
    )
    train(
        replace(config, model=replace(config.model, tie="all", head=HeadConfig(transform="norm", bias=True))), directory / "run"
    )
    return directory / "run"


class TestMaskedLanguageModel:
    def test_the_loss_falls(self, masked: Path) -> None:
        rows = map(json.loads, (masked / "metrics.jsonl").read_text().splitlines())
        losses = [row["dev_loss"] for row in rows if "dev_loss" in row]
        assert losses[-1] < losses[0]
        assert losses[-1] < 1.0

    def test_gaps_are_filled(self, masked: Path) -> None:
        model = pellucid.load(masked)
        [found] = model.fill("c is like [MASK]", n=3)
        assert found[0].token == "C"
        assert len(found) == 3
        assert found[0].probability >= found[1].probability
        [[best]] = model.fill("[MASK] is like D", n=1)
        assert best.token == "d"
        assert [len(gap) for gap in model.fill("[MASK] is [MASK] D", n=2)] == [2, 2]

    def test_a_text_without_a_gap(self, masked: Path) -> None:
        with pytest.raises(DataError, match="no gap"):
            pellucid.load(masked).fill("c is like C")

    def test_the_vocabulary_must_have_a_mask(self, masked: Path, tmp_path: Path) -> None:
        config = run_config(masked.parent / "corpus", "masked_lm", model=pellucid.load(masked).config.model)
        with pytest.raises(UsageError, match=r"text\.mask"):
            train(config, tmp_path / "run")

    def test_a_classifier_starts_from_it(self, masked: Path, tmp_path: Path) -> None:
        """Its encoder is taken, the head is new; frozen weights stay as they are."""
        corpus = write(tmp_path / "corpus", {"train": reviews(40, 1), "dev": reviews(10, 2)})
        config = run_config(corpus, "classification", start=StartConfig(model=str(masked), freeze=("encoder.*",)))
        train(replace(config, training=replace(config.training, steps=4)), tmp_path / "run")
        before, after = pellucid.load(masked).model.state_dict(), pellucid.load(tmp_path / "run").model.state_dict()
        kept = [name for name in after if name.startswith("encoder.")]
        assert len(kept) > 10
        assert [name for name in kept if not torch.equal(before[name], after[name])] == []
        assert after["weights.output"].shape == (2, 16)

    def test_lora_changes_projections_alone_and_is_merged(self, masked: Path, tmp_path: Path) -> None:
        corpus = masked.parent / "corpus"
        config = run_config(corpus, "masked_lm", model=pellucid.load(masked).config.model)
        config = replace(config, start=StartConfig(model=str(masked), lora_rank=2), corruption=CorruptionConfig(share=0.3))
        train(replace(config, training=replace(config.training, steps=4)), tmp_path / "run")
        before, after = pellucid.load(masked).model.state_dict(), pellucid.load(tmp_path / "run").model.state_dict()
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert "encoder.layers.0.self_attn.query.weight" in changed
        assert not any("norm" in name or "bias" in name or "weights." in name for name in changed)

    def test_a_pattern_without_a_weight(self, masked: Path, tmp_path: Path) -> None:
        corpus = write(tmp_path / "corpus", {"train": reviews(40, 1), "dev": reviews(10, 2)})
        config = run_config(corpus, "classification", start=StartConfig(model=str(masked), freeze=("decoder.*",)))
        with pytest.raises(UsageError, match="no weight has such a name"):
            train(config, tmp_path / "run")


def test_lora_begins_as_the_model_that_it_stands_beside() -> None:
    config = run_config(Path("none"), "classification").model
    config = replace(config, source_vocabulary=11, target_vocabulary=3)
    plain, adapted = build(config), build(config, lora(3, 6.0))
    initialise(plain, 1)
    initialise(adapted, 1)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    ids = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(1))
    assert torch.equal(plain(ids), adapted(ids))
    for module in adapted.modules():
        if hasattr(module, "lora_out"):
            torch.nn.init.normal_(module.lora_out, generator=torch.Generator().manual_seed(2))
    moved = adapted(ids)
    assert not torch.allclose(plain(ids), moved, atol=1e-3)
    plain.load_state_dict(plain_weights(adapted))
    torch.testing.assert_close(plain(ids), moved, rtol=1e-5, atol=1e-5)


def tagged(count: int, seed: int) -> list[tuple[str, str]]:
    """Letters and numbers; a letter after a number is another one than elsewhere, so that the neighbour counts."""
    chooser, rows = random.Random(seed), []
    for _ in range(count):
        words = [chooser.choice("abc123") for _ in range(chooser.randint(1, 7))]
        tags = ["N" if word.isdigit() else "AFTER" if i and words[i - 1].isdigit() else "L" for i, word in enumerate(words)]
        rows.append((" ".join(words), " ".join(tags)))
    return rows


@pytest.mark.parametrize("tokenizer", ["word", "byte"])
def test_tagging(tmp_path: Path, tokenizer: str) -> None:
    """Words of one token, and words of several: a tag belongs to the first."""
    corpus = write(tmp_path / "corpus", {"train": tagged(400, 1), "dev": tagged(20, 2), "test": tagged(20, 3)})
    text = TextConfig(tokenizer=tokenizer, vocabulary=300, min_frequency=1)  # type: ignore[arg-type]
    config = run_config(corpus, "tagging", text=text, training=TrainingConfig(steps=300, batch_tokens=256, label_smoothing=0.0))
    config = replace(config, model=replace(config.model, encoder=StackConfig(2, 2, 24), max_length=32))
    train(config, tmp_path / "run")
    tagger = pellucid.load(tmp_path / "run")
    assert tagger.evaluate_split("test").values["accuracy"] >= 95.0  # the most frequent tag: half of the words
    assert tagger.tag("a 1 b") == [[("a", "L"), ("1", "N"), ("b", "AFTER")]]
    assert tagger.tag("") == [[]]
    write(tmp_path / "other", {"train": [("a b", "L"), ("a", "N")], "dev": [("a", "L")]})
    with pytest.raises(DataError, match="differ in length"):
        train(replace(config, data=DataConfig(directory=str(tmp_path / "other"))), tmp_path / "second")
