"""Everything that can be asked of a language model, also where a text is longer than the positions that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_language_modelling import CONTEXT, GREEDY, random_model

from pellucid.base.config import DataConfig, TextConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.minimum_bayes_risk import least_risk
from pellucid.decoding.rules import penalised_repetition
from pellucid.tasks.language_model import LanguageModel
from pellucid.tasks.output import Output
from pellucid.tasks.request import Asked
from pellucid.text.tokenizer import Tokenizer

PROMPTS = ["a", "bcd", "", "abcdefghijabcdef", "jihgfedcba jihgfedcba", "cab"]
Ways = dict[str, Any]


def ending(towards_end: float) -> LanguageModel:
    """A model that learnt from documents, and ends them so readily."""
    model = random_model(bias=True)
    with torch.no_grad():
        assert model.model.head.bias is not None
        model.model.head.bias[3] = towards_end
    model.config = replace(model.config, data=DataConfig(train=("stories.jsonl",)))
    return model


class TestOverSeveralStretches:
    """45 tokens are written in four stretches, since there are 16 positions."""

    @pytest.mark.parametrize("ways", [{"no_repeat_ngram": 2}, {"no_repeat_ngram": 3, "temperature": 1.0}], ids=str)
    def test_no_ngram_comes_twice(self, ways: Ways) -> None:
        n = ways["no_repeat_ngram"]
        for output in random_model().continuations(PROMPTS, tokens=45, **{"beams": 1, **ways}):
            ngrams = [output.text[at : at + n] for at in range(len(output.text) - n + 1)]
            assert len(output.text) == 45
            assert len(set(ngrams)) == len(ngrams)

    def test_no_end_before_the_minimum(self) -> None:
        model = ending(100.0)
        found = model.continuations(PROMPTS, tokens=45, min_length=30, beams=1)
        assert [(len(one.text), one.reason) for one in found] == [(30, "end")] * len(PROMPTS)
        assert model.continuations(["a"], tokens=45, beams=1)[0].text == ""

    def test_banned_words_where_two_stretches_meet(self) -> None:
        """Forbidden are two letters that stood there, whichever they were."""
        [before] = random_model().continuations(["abc"], tokens=30, **GREEDY)
        for at in range(29):
            [after] = random_model().continuations(["abc"], tokens=30, ban=[before.text[at : at + 2]], **GREEDY)
            assert before.text[at : at + 2] not in after.text

    def test_the_repetition_penalty(self) -> None:
        """Against whole passes, all that has been written counted."""
        model = random_model()
        ids = model.tokenizer.encode("abc")
        window, written = list(ids), []
        for _ in range(45):
            logits = model.logits(torch.tensor([window]))[:, -1]
            logits = penalised_repetition(logits, torch.tensor([written], dtype=torch.int64), 1.7)[0]
            written.append(4 + int(logits[4:].argmax()))
            window = [*window, written[-1]]
            if len(window) > CONTEXT:
                window = [*ids, *written][-CONTEXT // 2 :]
        assert model.continuations(["abc"], tokens=45, repetition_penalty=1.7, **GREEDY)[0].text == model.tokenizer.decode(
            written
        )

    @pytest.mark.parametrize(
        "ways",
        [
            {"no_repeat_ngram": 2, "beams": 2},
            {"repetition_penalty": 1.4, "temperature": 1.2, "seed": 3},
            {"glossary": ["dad", "j"], "beams": 1},
            {"samples": 3},
        ],
        ids=str,
    )
    def test_prompts_together_give_what_each_gives_alone(self, ways: Ways) -> None:
        model = random_model()
        assert [model.generate(one, tokens=40, **ways)[0] for one in PROMPTS] == model.generate(PROMPTS, tokens=40, **ways)

    @pytest.mark.parametrize("scored", [{"beams": 2}, {"beams": 1, "ban": ["a"]}, {"temperature": 1.0}], ids=str)
    def test_scores_of_the_tokens(self, scored: Ways) -> None:
        for output in random_model().continuations(PROMPTS, tokens=40, scores=True, length_penalty="none", **scored):
            assert output.tokens is not None
            assert "".join(one.token for one in output.tokens).replace("▁", " ").replace("\\n", "\n") == output.text
            assert sum(one.log_probability for one in output.tokens) == pytest.approx(output.score, abs=1e-3)


class TestWhatIsWritten:
    @pytest.mark.parametrize("ways", [{"beams": 1}, {"beams": 3}, {"temperature": 1.0}], ids=str)
    def test_a_glossary_holds_every_time(self, ways: Ways) -> None:
        """Whatever the prompt, the longest too, which then loses more of its beginning."""
        found = random_model().continuations(PROMPTS, tokens=40, glossary=["dad", ["aha", "bib"]], **ways)
        assert all("dad" in one.text and ("aha" in one.text or "bib" in one.text) for one in found)

    def test_prefixes_stand_after_the_prompt(self) -> None:
        found = random_model().generate(["ab", "c"], tokens=9, prefix=["fed", ""], **GREEDY)
        assert found[0].startswith("abfed")
        assert [len(text) for text in found] == [11, 10]
        assert found[1] == random_model().generate("c", tokens=9, **GREEDY)[0]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"glossary": ["xyz"]}, "cannot write this term"),
            ({"prefix": "x"}, "cannot write this prefix"),
            ({"align": (0, 0)}, "a language model has no use for it"),
            ({"n_best": 2, "beams": 2, "tokens": 17}, "several outputs need room"),
        ],
    )
    def test_refusals(self, options: Ways, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            random_model().generate("a", **options)

    def test_n_best(self) -> None:
        model = ending(2.0)
        found = list(model.generate_lines(["a", "bcd"], beams=4, n_best=3, tokens=9, scores=True))
        for prompt, outputs in zip(["a", "bcd"], found, strict=True):
            assert [one.score for one in outputs] == sorted((one.score for one in outputs), reverse=True)
            assert len({(one.text, one.reason) for one in outputs}) == 3
            assert outputs[0].text == model.generate(prompt, beams=4, tokens=9)[0]
            for one in outputs:
                assert one.tokens is not None
                total = sum(token.log_probability for token in one.tokens)
                assert one.score == pytest.approx(total / ((5 + len(one.tokens)) / 6) ** 0.6, abs=1e-4)

    def test_lines_are_read_no_further_than_the_window(self) -> None:
        model, read = random_model(), iter(["a", "b", "c"])
        lines = model.generate_lines(read, window=2, tokens=3, **GREEDY)
        first = next(lines)
        assert next(read) == "c"
        assert [first[0].text, next(lines)[0].text] == model.generate(["a", "b"], tokens=3, **GREEDY)
        assert list(lines) == []


class TestStreams:
    @pytest.mark.parametrize("positions", ["learned", "rotary"])
    @pytest.mark.parametrize("ways", [{}, {"temperature": 1.3, "seed": 5}, {"no_repeat_ngram": 2, "prefix": "dad"}], ids=str)
    def test_pieces_are_the_text_that_is_found(self, positions: str, ways: Ways) -> None:
        model = random_model(positions)
        pieces = [list(model.stream(prompt, tokens=40, **ways)) for prompt in PROMPTS]
        expected = model.continuations(PROMPTS, tokens=40, **{"beams": 1, **ways})
        assert ["".join(some) for some in pieces] == [one.text for one in expected]
        assert [len(some) for some in pieces] == [40] * len(PROMPTS)

    def test_the_whole_comes_at_the_end(self) -> None:
        model, found = ending(5.0), []

        def reading() -> Any:
            found.append((yield from model.stream(Asked("ab", seed=2), tokens=30, temperature=1.0)))

        text = "".join(reading())
        [expected] = model.continuations(["ab"], tokens=30, temperature=1.0, seed=2)
        assert (text, expected.reason) == (expected.text, "end")
        assert found == [replace(expected, score=found[0].score)]
        assert found[0].score == pytest.approx(expected.score, rel=1e-5)


class TestSeveralModels:
    @pytest.mark.parametrize("positions", ["learned", "rotary"])
    def test_a_draft_changes_nothing(self, positions: str) -> None:
        model = random_model(positions)
        found = model.generate(PROMPTS, tokens=30, draft=random_model("alibi"))
        assert found == model.generate(PROMPTS, tokens=30, **GREEDY)

    def test_two_models_vote_as_far_as_both_can_read(self) -> None:
        model, other = random_model("rotary"), random_model("learned")
        assert model.generate(PROMPTS, tokens=30, ensemble=[model], **GREEDY) == model.generate(PROMPTS, tokens=30, **GREEDY)
        votes = model.generate(PROMPTS, tokens=30, ensemble=[other], **GREEDY)
        assert votes == other.generate(PROMPTS, tokens=30, ensemble=[model], **GREEDY)
        assert votes != model.generate(PROMPTS, tokens=30, **GREEDY)

    def test_other_tokenizers(self) -> None:
        model = random_model()
        letters = Tokenizer.train(["abcdefghik \n"], TextConfig(tokenizer="character", min_frequency=1))
        with pytest.raises(UsageError, match="do not share their tokenizers"):
            model.generate("a", draft=LanguageModel(model.model, model.config, letters))


def test_minimum_bayes_risk_is_of_whole_texts() -> None:
    model = random_model()
    drawn = [model.continuations(PROMPTS, tokens=30, temperature=1.0, seed=seed) for seed in range(2, 7)]
    texts = [[one.text for one in some] for some in zip(*drawn, strict=True)]
    found = model.continuations(PROMPTS, tokens=30, samples=5, seed=2)
    assert [one.text for one in found] == [some[least_risk(some)] for some in texts]


def test_alternatives() -> None:
    model = random_model()
    found = model.alternatives("abc", 3, prefix="d", tokens=6, beams=1)
    values = torch.log_softmax(model.logits(torch.tensor([model.tokenizer.encode("abcd")]))[0, -1], -1)
    best = values[4:].topk(3)
    assert [one.token.replace("▁", " ") for one in found] == [
        model.tokenizer.decode([4 + place]) for place in best.indices.tolist()
    ]
    assert [one.log_probability for one in found] == pytest.approx(best.values.tolist(), abs=1e-5)
    for one in found:
        assert one.output.text.startswith("d" + one.token.replace("▁", " "))
        assert (len(one.output.text), one.output.reason) == (6, "length")
        assert isinstance(one.output, Output)
