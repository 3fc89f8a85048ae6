"""``pellucid.load`` and what it returns: the same text whatever the batch, the model's own numbers, nothing left behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.base.config import DecodingConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.progress import Progress
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.scoring import log_probabilities
from pellucid.tasks.evaluation import Evaluation
from pellucid.tasks.translator import Translator


@pytest.fixture(scope="module")
def translator(learnt: Path) -> Translator:
    return pellucid.load(learnt)


def sentences(count: int) -> list[str]:
    chooser = random.Random(11)
    return [" ".join(chooser.choices("abcdefgh", k=chooser.randint(1, 9))) for _ in range(count)]


def drawn(translator: Translator, temperature: float) -> Translator:
    """The same model with a recipe that draws."""
    decoding = DecodingConfig(beams=1, max_extra=5, temperature=temperature)
    tokenizers = (translator.source_tokenizer, translator.target_tokenizer)
    return Translator(translator.model, tokenizers, replace(translator.config, decoding=decoding))


def total(translator: Translator, line: str, text: str) -> float:
    """Log probability of a translation, by one pass over the pair alone."""
    source, target = translator.ids(line), translator.target_tokenizer
    wanted = [*target.encode(text), target.end]
    mask = torch.ones_like(source, dtype=torch.bool)
    return log_probabilities(translator.model, source, mask, [wanted], start=target.start)[0]


class TestLoad:
    def test_a_run_and_its_model_directory_are_the_same(self, learnt: Path) -> None:
        lines = sentences(5)
        found = [pellucid.load(path).translate(lines, beams=5) for path in (learnt, str(learnt / "model"))]
        assert found[0] == found[1]

    def test_nothing_is_left_on_disk(self, learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in learnt.rglob("*")}
        translator = pellucid.load(learnt)
        translator.translate(["a b c"])
        translator.attention("a b")
        translator.evaluate([("a b", "B A")])
        assert {path: path.stat().st_mtime_ns for path in learnt.rglob("*")} == before
        assert list(tmp_path.iterdir()) == []

    def test_bfloat16(self, learnt: Path, translator: Translator) -> None:
        half = pellucid.load(learnt, precision="bfloat16")
        assert {weight.dtype for weight in half.model.parameters()} == {torch.bfloat16}
        assert {weight.dtype for weight in translator.model.parameters()} == {torch.float32}
        assert half.translate(["a", "b"]) == translator.translate(["a", "b"]) == ["A", "B"]

    def test_threads_are_the_callers(self, learnt: Path) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(before + 2)
            pellucid.load(learnt).translate("a")
            assert torch.get_num_threads() == before + 2
        finally:
            torch.set_num_threads(before)

    @pytest.mark.parametrize(
        ("options", "found"),
        [({"precision": "int4"}, "int4"), ({"precision": "auto"}, "auto"), ({"device": "abacus"}, "abacus")],
    )
    def test_what_does_not_exist_is_refused(self, learnt: Path, options: dict[str, Any], found: str) -> None:
        with pytest.raises(UsageError) as refused:
            pellucid.load(learnt, **options)
        assert refused.value.found == found


class TestTranslate:
    def test_lists_and_single_texts(self, translator: Translator) -> None:
        assert translator.translate([]) == []
        assert translator.translate("a") == ["A"]
        assert translator.translate(("b", "", "\u2028 \t", "c"), beams=5) == ["B", "", "", "C"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"beams": 0}, "beams: must be between 1 and 1000, is 0"),
            ({"alpha": 11.0}, "alpha: must be between 0 and 10, is 11"),
            ({"length_penalty": "marian"}, "no such length penalty"),
        ],
    )
    def test_searches_that_do_not_exist(self, translator: Translator, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            translator.translate(["a"], **options)

    def test_what_is_not_given_is_as_the_recipe_says(self, translator: Translator) -> None:
        assert translator.config.decoding == DecodingConfig(beams=2, max_extra=5)
        lines = sentences(20)
        assert translator.translate(lines) == translator.translate(lines, beams=2, length_penalty="gnmt", alpha=0.6)

    @pytest.mark.parametrize("beams", [1, 5])
    def test_a_sentence_alone_and_in_batches_gives_the_same_text(self, translator: Translator, beams: int) -> None:
        """Texts may differ only where the model finds them equally good, rescored alone, to rounding error."""
        lines = sentences(100)
        alone, *batched = (
            [found[0].text for found in translator.translate_lines(lines, beams=beams, batch_items=size)] for size in (1, 7, 64)
        )
        assert len(set(alone)) > 50
        for texts in batched:
            for line, text, other in zip(lines, alone, texts, strict=True):
                assert text == other or total(translator, line, text) == pytest.approx(total(translator, line, other), abs=1e-4)

    def test_scores_are_log_probabilities_over_the_penalty(self, translator: Translator) -> None:
        lines = sentences(10)
        for line, found in zip(lines, translator.translate_lines(lines, beams=4, n_best=4), strict=True):
            for output in found:
                n = len(output.text.split()) + (output.reason == "end")
                assert output.reason == "end"
                assert output.score == pytest.approx(total(translator, line, output.text) / ((5 + n) / 6) ** 0.6, abs=1e-4)

    def test_a_stream_is_read_no_further_than_the_window(self, translator: Translator) -> None:
        read = 0

        def stream() -> Iterator[str]:
            nonlocal read
            for number in range(20_000):
                read += 1
                yield "abcdefgh"[number % 8]

        outputs = translator.translate_lines(stream(), beams=1, window=500)
        assert read == 0
        texts = []
        for _ in range(1200):
            texts.append(next(outputs)[0].text)
            assert read <= len(texts) + 500
        assert texts == ["ABCDEFGH"[number % 8] for number in range(1200)]
        assert read == 1500

    def test_one_line_is_answered_before_the_next_is_read(self, translator: Translator) -> None:
        lines = iter(["a", "b", "c"])
        outputs = translator.translate_lines(lines, window=1)
        assert next(outputs)[0].text == "A"
        assert next(lines) == "b"

    def test_after_a_stop_the_rest_is_not_translated(self, translator: Translator) -> None:
        asked = 0

        def stopped() -> bool:
            nonlocal asked
            asked += 1
            return asked > 2

        found = [output for [output] in translator.translate_lines([*"abcdefgh", " "], window=2, stopped=stopped)]
        assert [output.text for output in found] == [*"ABCD", "", "", "", "", ""]
        assert [output.reason for output in found] == ["end"] * 4 + ["stopped"] * 4 + ["empty"]

    def test_progress_is_told_batch_by_batch(self, translator: Translator) -> None:
        """Before the first translation of the window is there; longest first, and an empty line as soon as it is read."""
        told: list[int] = []
        outputs = translator.translate_lines(["a b", "", "c", "d e f"], batch_items=2, done=told.append)
        assert next(outputs)[0].reason == "end"
        assert told == [1, 2, 1]

    def test_what_is_drawn_is_the_same_in_any_batch(self, translator: Translator) -> None:
        drawing = drawn(translator, temperature=1.5)
        lines = sentences(40)
        alone, *batched = (
            [found[0].text for found in drawing.translate_lines(lines, batch_items=size, seed=3)] for size in (1, 7, 64)
        )
        assert batched == [alone, alone]
        assert drawing.translate(lines[::-1], seed=3) == alone[::-1]
        assert drawing.translate(lines, seed=4) != alone
        assert translator.translate(lines, beams=1) != alone

    def test_several_beams_search_whatever_temperature_the_recipe_has(self, translator: Translator) -> None:
        lines = sentences(20)
        assert drawn(translator, temperature=1.5).translate(lines, beams=3) == translator.translate(lines, beams=3)

    def test_a_line_longer_than_the_positions_is_cut_and_named(
        self, translator: Translator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fits, too_long = " ".join("a" * 31), " ".join("a" * 32)  # 32 positions, one of them for the end token
        first, second = translator.translate([fits, too_long])
        assert first == second
        assert capsys.readouterr().err == ("warning: line 2 has 32 tokens, only the first 31 are used (model.max_length)\n")

    def test_an_output_is_cut_where_the_positions_end(self, translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
        limits: list[list[int]] = []

        def search(*arguments: Any, limits_seen: Any = limits, **named: Any) -> list[list[Hypothesis]]:
            limits_seen.append(named["limits"].tolist())
            return [[Hypothesis((), 0.0, 0.0, "end")]] * len(named["limits"])

        monkeypatch.setattr("pellucid.tasks.writing.search", search)
        translator.translate([" ".join("a" * 31), "a b"])
        assert limits == [[32, 8]]  # the model's positions; 2 tokens, the end token and max_extra: 5

    def test_a_line_feed_in_a_translation_becomes_a_space(
        self, translator: Translator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(translator.target_tokenizer), "decode", lambda self, ids: "one\ntwo\u2028three")
        assert translator.translate(["a"]) == ["one two\u2028three"]


class TestNumbers:
    def test_logits_are_those_of_the_model(self, translator: Translator) -> None:
        ids = torch.tensor([[4, 5, 3], [6, 3, 0]])
        mask = torch.tensor([[True, True, True], [True, True, False]])
        target = torch.tensor([[2, 12], [2, 13]])
        found = translator.logits(ids, mask=mask, target_ids=target)
        assert found.shape == (2, 2, 20)
        assert torch.equal(found, translator.model(ids, target, source_mask=mask))
        alone = translator.logits(ids[1:, :2], target_ids=target[1:])
        torch.testing.assert_close(found[1:], alone, rtol=0, atol=1e-5)
        assert not torch.allclose(found[1:], translator.logits(ids[1:], target_ids=target[1:]), atol=1e-2)

    def test_attention_has_its_labels_and_rows_that_sum_to_one(self, translator: Translator) -> None:
        source, target, weights = translator.attention("c a b")
        assert source == ["▁c", "▁a", "▁b", "</s>"]
        assert [*translator.translate("c a b")[0].split(), "</s>"] == [token.removeprefix("▁") for token in target]
        assert weights.shape == (2, 4, len(target), 4)  # layers, heads, target, source
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, len(target)))

    def test_attention_is_that_of_the_pass_that_wrote_the_tokens(self, translator: Translator) -> None:
        """Row t against the tap of a pass over the tokens before t alone."""
        _, target, weights = translator.attention("c a b")
        written = [translator.target_tokenizer.start, *translator.target_tokenizer.encode(translator.translate("c a b")[0])]
        for t in range(len(target)):
            seen: dict[str, Tensor] = {}

            def tap(name: str, tensor: Tensor, seen: dict[str, Tensor] = seen) -> Tensor:
                seen[name] = tensor
                return tensor

            with torch.inference_mode():
                translator.model(translator.ids("c a b"), torch.tensor([written[: t + 1]]), tap=tap)
            for layer in (0, 1):
                expected = seen[f"decoder.layers.{layer}.cross_attn.weights"][0, :, -1]
                torch.testing.assert_close(weights[layer, :, t], expected)

    def test_attention_to_an_empty_text(self, translator: Translator) -> None:
        with pytest.raises(DataError, match="no attention"):
            translator.attention(" \u2028")


class TestEvaluate:
    def test_the_bar_counts_every_pair_twice(self, translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
        """Translated, and scored for the loss: here without the pair that has an empty side."""
        told: dict[str, int] = {}

        def update(self: Progress, n: int = 1, **values: float) -> None:
            told[self.label] = told.get(self.label, 0) + n

        monkeypatch.setattr(Progress, "update", update)
        translator.evaluate([("a b", "B A"), ("", "A"), ("c", "C")])
        assert told == {"translating": 3, "computing the loss": 2}

    def test_nothing_to_score(self, translator: Translator) -> None:
        with pytest.raises(DataError, match="nothing to score"):
            translator.evaluate([])

    def test_pairs_with_an_empty_side_count_in_scores_and_not_in_the_loss(self, translator: Translator) -> None:
        pair = ("a b c", "C B A")
        alone, more = translator.evaluate([pair]), translator.evaluate([pair, ("", "A B"), ("b", " ")])
        assert more.loss == pytest.approx(alone.loss, rel=1e-6)
        assert more.scores["bleu"].score < alone.scores["bleu"].score
        assert more.outputs == [*alone.outputs, "", "B"]

    def test_only_empty_pairs_have_no_loss(self, translator: Translator) -> None:
        assert translator.evaluate([("", "")]).loss == 0.0

    def test_a_perplexity_beyond_every_number_is_left_out_of_json(self) -> None:
        found = Evaluation([], {}, loss=1000.0, cut=0, sentences_per_second=1.0)
        assert found.perplexity == float("inf")
        assert found.to_dict()["perplexity"] is None


def test_a_changed_weight_is_noticed_by_what_was_laid_out_beforehand(learnt: Path) -> None:
    loaded = pellucid.load(learnt)
    before = loaded.writing_model()
    assert before is not loaded.model
    assert loaded.writing_model() is before
    text = loaded.translate("a b c")
    with torch.no_grad():
        loaded.model.weight("output").neg_()
    assert loaded.writing_model() is not before
    assert loaded.translate("a b c") != text
