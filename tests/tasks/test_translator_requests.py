"""Everything that can be asked of a translator: what is asked for holds, in every output, and nothing else changes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid.base.config import DataConfig, StackConfig, TextConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.decoding.alignment import align, words_of
from pellucid.decoding.ensemble import Ensemble
from pellucid.decoding.minimum_bayes_risk import least_risk
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.tasks.output import Output
from pellucid.tasks.pairs import pad
from pellucid.tasks.request import Asked, Request
from pellucid.tasks.translator import Translator
from pellucid.text.tokenizer import Tokenizer

Ways = dict[str, Any]
WAYS: list[Ways] = [{"beams": 1}, {"beams": 3}, {"temperature": 1.5, "seed": 4}]


@pytest.fixture(scope="module")
def translator(learnt: Path) -> Translator:
    return pellucid.load(learnt)


@pytest.fixture(scope="module")
def small(translator: Translator) -> Translator:
    """Another, untrained model with the same tokenizers."""
    return sibling(translator, translator.tokenizers)


def sibling(translator: Translator, tokenizers: tuple[Any, ...]) -> Translator:
    one = StackConfig(1, 2, 24)
    shape = replace(translator.config.model, d_model=16, encoder=one, decoder=one)
    built: Any = build(shape)
    initialise(built, 5)
    return Translator(built, (tokenizers[0], tokenizers[1]), replace(translator.config, model=shape))


def sentences(count: int, seed: int = 11) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices("abcdefgh", k=chooser.randint(1, 9))) for _ in range(count)]


class Untouchable(torch.nn.Module):
    """A model that must not run."""

    def encode(self, *arguments: Any) -> None:
        raise AssertionError("the model ran")


def without_running(translator: Translator) -> Translator:
    found = Translator(translator.model, None, translator.config)
    found._tokenizer, found._target_tokenizer = translator.tokenizers
    untouchable: Any = Untouchable()
    untouchable.weight = translator.model.weight
    found.model = untouchable
    return found


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"glossary": {"a": "zebra"}}, "glossary, 'a': the model cannot write this term"),
            ({"glossary": ["A", ["B", "B zebra"]]}, "the model cannot write this term"),
            ({"prefix": "A zebra"}, "prefix: the model cannot write this prefix"),
            ({"align": (2, 0)}, "no such layer or head"),
            ({"align": (0, 4)}, "layer 0 to 1, head 0 to 3"),
            ({"n_best": 3}, "expected: 1 to 2"),
            ({"beam": 3}, "no such option"),
        ],
    )
    def test_before_the_model_runs(self, translator: Translator, options: Ways, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            without_running(translator).translate(["a"], **options)

    @pytest.mark.parametrize("own", [Asked("a", glossary={"a": "zebra"}), Asked("a", prefix="zebra")])
    def test_what_one_text_asks_for(self, translator: Translator, own: Asked) -> None:
        with pytest.raises(UsageError, match="cannot write"):
            without_running(translator).translate(["b", own])

    def test_what_has_no_room(self, translator: Translator) -> None:
        with pytest.raises(UsageError, match="no room"):
            without_running(translator).translate(["a"], glossary=["A B C D"], tokens=3)

    def test_a_mistake_in_a_stream_is_told_at_once(self, translator: Translator) -> None:
        with pytest.raises(UsageError, match="a stream with 3 beams"):
            translator.stream("a", beams=3)


class TestWhatIsWritten:
    @pytest.mark.parametrize("ways", WAYS, ids=str)
    def test_a_glossary_holds_every_time(self, translator: Translator, ways: Ways) -> None:
        """In each output of a line that has the term; the other lines are as ever."""
        lines = sentences(60)
        plain = list(translator.translate_lines(lines, **ways))
        n_best = {"n_best": 2} if ways.get("beams", 1) > 1 else {}
        found = translator.translate_lines(lines, **ways, **n_best, glossary={"a": ["E F", "G G G"], "c d": "H"})
        for line, [before, *_], outputs in zip(lines, plain, found, strict=True):
            for output in outputs:
                assert "a" not in line or "E F" in output.text or "G G G" in output.text
                assert "c d" not in line or "H" in output.text
            if "a" not in line and "c d" not in line:
                assert outputs[0].text == before.text

    def test_a_text_has_a_glossary_of_its_own_besides(self, translator: Translator) -> None:
        texts = ["a b", Asked("a b", glossary={"b": "H"}), Asked("a b", glossary=["G", "D"]), Asked("a b", glossary={"z": "G"})]
        found = [text.split() for text in translator.translate(texts, glossary={"a": "C"})]
        assert all("C" in words for words in found)
        assert ["H" in words for words in found] == [False, True, False, False]
        assert ["G" in words and "D" in words for words in found] == [False, False, True, False]

    @pytest.mark.parametrize("ways", WAYS, ids=str)
    def test_banned_words_never_come(self, translator: Translator, ways: Ways) -> None:
        found = translator.translate(sentences(40), **ways, ban=["A", "C D", "zebra"])
        assert not any("A" in text.split() or "C D" in text for text in found)
        assert any("C" in text for text in found)

    @pytest.mark.parametrize("ways", WAYS, ids=str)
    def test_prefixes(self, translator: Translator, ways: Ways) -> None:
        lines = ["a b c", "", "d", "e f"]
        found = translator.translate(lines, **ways, prefix="G H")
        assert found[1] == ""
        assert all(text.startswith("G H") for text in (found[0], *found[2:]))
        own = translator.translate(lines, **ways, prefix=["G", "A", "", "H H"])
        assert [own[0][0], own[1], own[2], own[3][:3]] == ["G", "", translator.translate("d", **ways)[0], "H H"]

    def test_lengths_and_the_reason_for_an_end(self, translator: Translator) -> None:
        [[cut], [ended]] = translator.translate_lines(["a b c d", "e"], tokens=3)
        assert (cut.text[:3], len(cut.text.split()), cut.reason) == ("D C", 3, "length")
        assert (ended.text, ended.reason) == ("E", "end")
        [[longer]] = translator.translate_lines(["e"], min_length=4, beams=1)
        assert len(longer.text.split()) >= 4

    def test_no_words_twice(self, translator: Translator) -> None:
        assert translator.translate("a a a", beams=1) == ["A A A"]
        [text] = translator.translate("a a a", beams=1, no_repeat_ngram=1)
        assert len(set(text.split())) == len(text.split())

    def test_seeds_one_for_each_text(self, translator: Translator) -> None:
        lines = sentences(12)
        own = translator.translate(lines, temperature=2.0, seed=range(12))
        asked = [Asked(line, seed=seed) for seed, line in enumerate(lines)]
        assert translator.translate(asked[::-1], Request(temperature=2.0, seed=99)) == own[::-1]
        assert own != translator.translate(lines, temperature=2.0)


class TestScores:
    @pytest.mark.parametrize("positions", [1024, 5])
    def test_of_each_token(self, translator: Translator, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """They sum up to the score times the penalty, and are those of the given pair; in parts as all at once."""
        monkeypatch.setattr("pellucid.tasks.writing.POSITIONS", positions)
        lines = sentences(8)
        for line, outputs in zip(lines, translator.translate_lines(lines, beams=3, n_best=3, scores=True), strict=True):
            for output in outputs:
                assert output.tokens is not None
                assert [one.token.removeprefix("▁") for one in output.tokens] == [*output.text.split(), "</s>"]
                total = sum(one.log_probability for one in output.tokens)
                assert output.score == pytest.approx(total / ((5 + len(output.tokens)) / 6) ** 0.6, abs=1e-4)
                given = translator.score(line, output.text)
                assert [one.token for one in given.tokens] == [one.token for one in output.tokens]
                values = [one.log_probability for one in output.tokens]
                assert [one.log_probability for one in given.tokens] == pytest.approx(values, abs=1e-4)

    def test_of_a_pair(self, translator: Translator) -> None:
        source, target = translator.ids("c a b"), translator.target_tokenizer
        mask = torch.ones_like(source, dtype=torch.bool)
        wanted = [[*target.encode("H A"), target.end]]
        [expected] = log_probabilities(translator.writing_model(), source, mask, wanted, start=target.start or 0)
        found = translator.score("c a b", "H A")
        assert found.log_probability == pytest.approx(expected, abs=1e-6)
        assert found.log_probability == pytest.approx(sum(one.log_probability for one in found.tokens))

    def test_a_pair_without_a_source(self, translator: Translator) -> None:
        with pytest.raises(DataError, match="no translation"):
            translator.score(" ", "A")

    def test_not_asked_for(self, translator: Translator) -> None:
        [[output]] = translator.translate_lines(["a"])
        assert (output.tokens, output.alignment) == (None, None)
        [[empty]] = translator.translate_lines([""], scores=True, align=(0, 0))
        assert empty == Output("", 0.0, "empty", (), frozenset())


class TestStreams:
    @pytest.mark.parametrize("ways", [{}, {"temperature": 1.5, "seed": 4}, {"glossary": ["G"], "prefix": "A"}], ids=str)
    def test_pieces_are_the_text_that_is_found(self, translator: Translator, ways: Ways) -> None:
        lines = sentences(20)
        pieces = [list(translator.stream(line, **ways)) for line in lines]
        assert ["".join(some) for some in pieces] == translator.translate(lines, **{"beams": 1, **ways})
        assert [len(some) for some in pieces] == ["".join(some).count(" ") + 1 for some in pieces]

    def test_the_whole_comes_at_the_end(self, translator: Translator) -> None:
        def reading(text: str, found: list[Output]) -> Any:
            found.append((yield from translator.stream(text)))

        found: list[Output] = []
        assert list(reading("a b", found)) == ["B", " A"]
        assert list(reading(" ", found)) == []
        assert found == [next(translator.translate_lines(["a b"], beams=1))[0], Output("", 0.0, "empty")]


class TestSeveralModels:
    def test_a_model_with_itself(self, translator: Translator) -> None:
        lines = sentences(10)
        assert translator.translate(lines, ensemble=[translator]) == translator.translate(lines)

    def test_two_models_vote(self, translator: Translator, small: Translator) -> None:
        lines = sentences(6)
        source, mask = pad([translator._encode(1, line, translator._writer(Request())) for line in lines], 0)
        config, target = replace(translator.config.decoding, beams=3), translator.target_tokenizer
        both = Ensemble([translator.model, small.model])
        forbidden = (target.pad or 0, target.unknown or 1, target.start or 2)
        expected = search(both, source, mask, config, start=target.start or 2, end=target.end, forbidden=forbidden)
        texts = [target.decode(best.ids) for [best] in expected]
        assert translator.translate(lines, beams=3, ensemble=[small]) == texts
        alone = [one.score for [one] in translator.translate_lines(lines, beams=3)]
        assert [one.score for [one] in translator.translate_lines(lines, beams=3, ensemble=[small])] != pytest.approx(alone)

    @pytest.mark.parametrize("seed", [None, 3])
    def test_a_draft_changes_nothing(self, translator: Translator, small: Translator, seed: int | None) -> None:
        """Greedy; of what is drawn the seed decides, alone and among others."""
        lines = sentences(12)
        ways: Ways = {} if seed is None else {"temperature": 1.5, "seed": seed}
        found = translator.translate(lines, draft=small, **ways)
        assert found == [translator.translate(line, draft=small, **ways)[0] for line in lines]
        if seed is None:
            assert found == translator.translate(lines, beams=1)

    @pytest.mark.parametrize("as_what", ["ensemble", "draft"])
    def test_models_with_other_tokenizers(self, translator: Translator, as_what: str) -> None:
        source, target = translator.tokenizers
        size = target.vocabulary_size
        other = Tokenizer.train(["A B C", "D E F G H I J K L M N O P"], TextConfig(tokenizer="word", min_frequency=1))
        assert other.vocabulary_size == size
        stranger = sibling(translator, (source, other))
        with pytest.raises(UsageError, match="tokenizer of the target: the models do not share") as refused:
            translator.translate(["a"], **{as_what: [stranger] if as_what == "ensemble" else stranger})
        assert other.fingerprint[:8] in str(refused.value.found)

    def test_models_of_other_tasks_or_sizes(self, translator: Translator, small: Translator) -> None:
        other = sibling(translator, translator.tokenizers)
        other.config = replace(other.config, model=replace(other.config.model, target_vocabulary=99, source_vocabulary=99))
        with pytest.raises(UsageError, match=r"model\.target_vocabulary"):
            translator.translate(["a"], draft=other)
        other.config = replace(small.config, task="denoising", data=DataConfig(train=("x",)))
        with pytest.raises(UsageError, match="different tasks"):
            translator.translate(["a"], draft=other)


class TestMinimumBayesRisk:
    @pytest.mark.parametrize("utility", ["chrf", "bleu"])
    def test_the_one_that_agrees_best(self, translator: Translator, utility: Any) -> None:
        lines = [*sentences(8), ""]
        drawn = [translator.translate(lines, temperature=2.0, seed=7 + number) for number in range(5)]
        expected = [texts[least_risk(texts, utility)] for texts in zip(*drawn, strict=True)]
        ways: Ways = {"samples": 5, "temperature": 2.0, "seed": 7, "utility": utility}
        assert translator.translate(lines, **ways) == expected
        assert [translator.translate(line, **ways)[0] for line in lines] == expected
        assert expected != drawn[0]


class TestAlternatives:
    def test_at_a_position(self, translator: Translator) -> None:
        found = translator.alternatives("a b c", 4, prefix="C", beams=2)
        assert found[0].token == "▁B"
        assert [one.log_probability for one in found] == sorted((one.log_probability for one in found), reverse=True)
        for one in found:
            word = "" if one.token == "</s>" else one.token.replace("▁", " ")
            assert one.output.text.startswith(f"C{word}")
            ids = translator.score("a b c", f"C{word}").tokens
            assert ids[1 if word else -1].log_probability == pytest.approx(one.log_probability, abs=1e-4)
        assert len({one.token for one in found}) == 4

    def test_of_nothing(self, translator: Translator) -> None:
        with pytest.raises(DataError, match="no translation"):
            translator.alternatives(" ")
        with pytest.raises(UsageError, match="a list of alternatives has no use for it"):
            translator.alternatives("a", scores=True)


class TestAlignment:
    PAIRS = (("a b c", "C B A"), ("d e", "E D"), ("f", "F"))
    GOLD = ("2-0 1-1 0-2", "1-0 0-1", "0-0")

    def test_the_best_head_of_all(self, translator: Translator) -> None:
        """Against every head, worked out one after the other from single passes."""
        best = translator.best_head(self.PAIRS, self.GOLD)
        rates: dict[tuple[int, int], float] = {}
        for layer in range(2):
            for head in range(4):
                wrong = links = 0
                for (source, target), gold in zip(self.PAIRS, self.GOLD, strict=True):
                    found = translator.align(source, target, (layer, head))
                    known = {tuple(map(int, link.split("-"))) for link in gold.split()}
                    wrong += len(found) + len(known) - 2 * len(found & known)
                    links += len(found) + len(known)
                rates[layer, head] = wrong / links
        assert best.error_rate == pytest.approx(min(rates.values()))
        assert rates[best.layer, best.head] == min(rates.values())
        assert best.error_rate < 0.5  # the model has learnt to turn sentences round

    def test_of_translations(self, translator: Translator) -> None:
        lines = ["a b c", "", *sentences(5)]
        for line, outputs in zip(lines, translator.translate_lines(lines, beams=3, n_best=3, align=(1, 2)), strict=True):
            for output in outputs:
                assert output.alignment == (translator.align(line, output.text, (1, 2)) if line else frozenset())
                assert {target for _, target in output.alignment or ()} == set(range(len(output.text.split())))

    def test_it_is_read_off_the_attention(self, translator: Translator) -> None:
        _, _, weights = translator.attention("c a b")
        [text] = translator.translate("c a b")
        sides = ((translator.source_tokenizer, "c a b"), (translator.target_tokenizer, text))
        words = [words_of([*side.encode(some), side.end or 3], side.decode) for side, some in sides]
        assert translator.align("c a b", text, (0, 3)) == align(weights[0, 3], *words)

    @pytest.mark.parametrize(
        ("pairs", "gold", "words"),
        [
            ((("a", " "),), ("0-0",), "pair 1"),
            ((("a", "A"),), ("0:0",), "this is no alignment"),
            ((("a", "A"),), (), "cannot be compared"),
            ((), (), "cannot be compared"),
        ],
    )
    def test_pairs_that_tell_nothing(self, translator: Translator, pairs: Any, gold: Any, words: str) -> None:
        with pytest.raises(DataError, match=words):
            translator.best_head(pairs, gold)
