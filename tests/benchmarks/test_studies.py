"""What the studies compute, on models and maps small enough to know the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from benchmarks.studies import alignment, alignment_page, gpt_in_depth, pruning_page, report
from benchmarks.studies.heads import Head, greedy_order, heads, loss_without, normed_by_layer, sensitivity, without
from benchmarks.studies.roles import ROLES, Counts, roles
from benchmarks.studies.sentences import Reference, animals, reference, taught
from benchmarks.studies.words import Text, attention, by_words, word_of_each
from pellucid.base.config import DecodingConfig, ModelConfig, StackConfig
from pellucid.data.corpus import words
from pellucid.data.corpus.splits import sentences_by_split
from pellucid.decoding.alignment import Gold
from pellucid.explain.edits import ZeroHead
from pellucid.model.build import build, initialise
from pellucid.tasks.pairs import from_texts

SIZES = {"source_vocabulary": 11, "target_vocabulary": 11}
STUDIES = Path(__file__).parents[2] / "docs" / "studies"


class TestWords:
    def test_tokens_belong_to_the_word_they_begin_in(self) -> None:
        texts = ["L'", "L' an", "L' ani", "L' animal", "L' animal do", "L' animal dort", "L' animal dort."]
        pieces = [text.replace("L' a", "L'a") for text in texts]
        found = word_of_each([*range(7), 7], ["L'", "animal", "dort", "."], lambda ids: pieces[min(len(ids), 7) - 1])
        assert found == [0, 1, 1, 1, 2, 2, 3, None]

    def test_weights_between_words(self) -> None:
        """Two tokens of word 1 ask: the mean of (0.5, 0.1) and (0.3, 0.3); the keys of word 0 are summed: 0.1 + 0.2, ..."""
        weights = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.2], [0.3, 0.3, 0.0, 0.4]]])
        found = by_words(weights, [0, 1, 1], [0, 0, 1, None])
        torch.testing.assert_close(found, torch.tensor([[[0.3, 0.3, 0.4], [0.6, 0.1, 0.3]]]))

    def test_attention_of_a_batch_is_that_of_each_alone(self, learnt: Path) -> None:
        translator = pellucid.load(learnt)
        sides = [(translator.source_tokenizer, "a b c"), (translator.target_tokenizer, "C B A")]
        [source, target] = [Text([*one.encode(text), one.end], [], 3) for one, text in sides]
        short = [Text([*one.encode(text[0]), one.end], [], 1) for one, text in sides]
        first, second = attention(translator, [source, short[0]], [target, short[1]])
        trace = translator.explain("a b c", output="C B A", taps=["*.weights"])
        for kind, layers in first.items():
            stack, _, name = kind.partition(".")
            for number, layer in enumerate(layers):
                np.testing.assert_allclose(layer.numpy(), trace[f"{stack}.layers.{number}.{name}.weights"], atol=1e-6)
        assert [one.shape[1:] for one in second["decoder.cross_attn"]] == [(2, 2), (2, 2)]


class TestAlignment:
    def test_the_error_of_every_head(self) -> None:
        """One layer, two heads, two words each way. Head 0 is right, 1 - (2 + 2) / (2 + 2) = 0; head 1 has one link
        of two right, 1 - (1 + 1) / (2 + 2) = 0.5."""
        right, half = [[0.1, 0.8, 0.1], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]], [[0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]]
        text = Text([5, 6, 3], [0, 1, None], 2)
        given = alignment.Sentences([text], [text], [], [], [Gold(frozenset({(1, 0), (0, 1)}))])
        found = alignment.error_rates([[torch.tensor([right, half])]], given)
        np.testing.assert_allclose(found, [[0.0, 0.5]])

    def test_the_row_that_reads_a_word_is_one_later(self) -> None:
        text = Text([5, 6, 3], [0, 1, None], 2)
        rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        assert alignment.links(rows, text, text) == {(0, 0), (1, 1)}
        assert alignment.links(rows, text, text, later=1) == {(1, 0), (0, 1)}

    def test_without_a_model(self) -> None:
        """Three source words, two target words, known links 0-0 and 1-1: the diagonal gives 0-0, 1-1."""
        three, two = Text([], [], 3), Text([], [], 2)
        given = alignment.Sentences([three], [two], [], [], [Gold(frozenset({(0, 0), (1, 1)}))])
        assert alignment.without_model(given) == {"diagonal": 0.0, "best": 0.0}


class TestRoles:
    def test_of_a_sentence(self) -> None:
        """La petite fille lit un livre rouge parce qu' elle est triste. The words count from 0."""
        tags = ["DET", "ADJ", "NOUN", "VERB", "DET", "NOUN", "ADJ", "SCONJ", "SCONJ", "PRON", "AUX", "ADJ", "PUNCT"]
        assert roles(tags) == {
            "noun to its article": [(2, 0), (5, 4)],
            "article to its noun": [(0, 2), (4, 5)],
            "adjective to its noun": [(1, 2), (6, 5)],
            "noun to its adjective": [(2, 1), (5, 6)],
            "verb to its subject": [(3, 2), (10, 9)],
            "subject to its verb": [(2, 3), (9, 10)],
            "verb to its object": [(3, 5)],
        }
        assert roles(tags).keys() == ROLES.keys()

    def test_counts_of_a_map_by_hand(self) -> None:
        """the cat sleeps. Head 0 looks at the word before (the first at itself), head 1 at all words and the end alike."""
        weights = torch.zeros(2, 3, 4)
        weights[0, [0, 1, 2], [0, 0, 1]] = 1.0
        weights[1] = 0.25
        counts = Counts(2, causal=False)
        counts.add(weights, ["DET", "NOUN", "VERB"])
        assert counts.pairs == {
            "noun to its article": 1,
            "article to its noun": 1,
            "verb to its subject": 1,
            "subject to its verb": 1,
        }
        assert counts.share("noun to its article").tolist() == [1.0, 0.25]
        assert counts.share("subject to its verb").tolist() == [0.0, 0.25]
        assert counts.accuracy("verb to its subject").tolist() == [1.0, 0.0]  # of equal weights the first counts: the article
        torch.testing.assert_close(counts.share("the word before"), torch.tensor([2 / 3, 2 * 0.25 / 3], dtype=torch.float64))
        torch.testing.assert_close(counts.share("the same word"), torch.tensor([1 / 3, 0.25], dtype=torch.float64))
        assert counts.commonest("noun to its article") == -1
        assert counts.share_by_distance("noun to its article", 0) == 1.0  # to both words that have one before them
        share, offsets = counts.keeps_distance()
        assert (share[0].item(), offsets[0]) == (pytest.approx(2 / 3), -1)

    def test_a_decoder_cannot_look_at_later_words(self) -> None:
        counts = Counts(1, causal=True)
        counts.add(torch.ones(1, 2, 3), ["DET", "NOUN"])
        assert counts.pairs == {"noun to its article": 1}
        assert counts.uniform == {"noun to its article": pytest.approx(1 / 3)}  # the start token, the article and itself


class TestHeads:
    @pytest.mark.parametrize(
        "removed",
        [
            [Head("encoder.layers.1.self_attn", 2)],
            [Head("decoder.layers.0.self_attn", 0), Head("decoder.layers.0.self_attn", 3)],
            [Head("decoder.layers.1.cross_attn", 1), Head("encoder.layers.0.self_attn", 3)],
        ],
    )
    def test_columns_of_the_output_matrix_are_the_edit(self, learnt: Path, removed: list[Head]) -> None:
        translator = pellucid.load(learnt)
        edits = [ZeroHead(*head) for head in removed]
        wanted = translator.explain("a b c", output="C B A", taps=["logits"], edits=edits)["logits"]
        whole = translator.explain("a b c", output="C B A", taps=["logits"])["logits"]
        with without(translator.model, removed):
            found = translator.explain("a b c", output="C B A", taps=["logits"])["logits"]
        after = translator.explain("a b c", output="C B A", taps=["logits"])["logits"]
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), atol=1e-5)
        assert np.abs(np.asarray(found) - np.asarray(whole)).max() > 0.01
        np.testing.assert_array_equal(np.asarray(after), np.asarray(whole))

    def test_translations_follow(self, learnt: Path) -> None:
        """The search keeps matrices laid out for writing: they must be laid out anew, and once more afterwards."""
        translator = pellucid.load(learnt)
        every = heads(translator.model)
        assert [str(every[0]), str(every[-1]), len(every)] == ["encoder self 0.0", "cross 1.3", 24]
        texts = ["a b c", "h g f e"]
        before = translator.translate(texts, beams=1)
        with without(translator.model, every):
            assert translator.translate(texts, beams=1) != before
        assert translator.translate(texts, beams=1) == before

    def test_sensitivity_is_the_slope(self, learnt: Path) -> None:
        """Against the loss with a head's columns of W^O a little larger and smaller."""
        translator = pellucid.load(learnt)
        model = translator.model.double()
        [example] = from_texts([("a b c", "C B A")], translator.tokenizers, 32)
        found = sensitivity(model, [example])
        name, step = "decoder.layers.1.cross_attn", 1e-4
        weight, slopes = model.get_submodule(name).output.weight, []
        with torch.no_grad():
            for head in range(4):
                columns, losses = slice(head * 8, head * 8 + 8), []
                own = weight[:, columns].clone()
                for factor in (1 + step, 1 - step):
                    weight[:, columns] = own * factor
                    losses.append(loss_without(model, [], [example]) * len(example.target_output))
                weight[:, columns] = own
                slopes.append(abs(losses[0] - losses[1]) / (2 * step))
        np.testing.assert_allclose([found[Head(name, head)] for head in range(4)], slopes, rtol=1e-3)

    def test_normed_by_layer(self) -> None:
        found = normed_by_layer({Head("a", 0): 3.0, Head("b", 0): 5.0, Head("a", 1): 4.0})
        assert list(found.values()) == pytest.approx([0.6, 1.0, 0.8])

    def test_the_greedy_order_begins_with_the_head_that_is_missed_least(self, learnt: Path) -> None:
        translator = pellucid.load(learnt)
        batches = list(from_texts([("a b c", "C B A"), ("h g", "G H")], translator.tokenizers, 32))
        head, loss = next(greedy_order(translator.model, batches))
        alone = {one: loss_without(translator.model, [one], batches) for one in heads(translator.model)}
        assert (head, loss) == min(alone.items(), key=lambda item: item[1])


class TestSentences:
    def test_the_pizza(self) -> None:
        found = [reference(sentence) for sentence in sentences_by_split(1)["teaching"]]
        pizza, oven, *_ = [one for one in found if one is not None]
        english = words(pizza.english)
        assert [english[at] for at in (pizza.it, pizza.antecedent, pizza.other, pizza.quality)] == [
            "it",
            "pizza",
            "oven",
            "tasty",
        ]
        assert pizza.swapped == "La pizza est sortie du four et il était bonne."
        assert (oven.pronoun, words(oven.english)[oven.antecedent]) == ("il", "oven")
        assert len([one for one in found if one is not None]) == 6

    def test_animals_agree(self) -> None:
        some = animals()
        assert {type(one) for one in some} == {Reference}
        hen = next(one for one in some if "hen" in words(one.english))
        assert hen.french == "La poule n'a pas traversé la rue parce qu'elle était trop fatiguée."
        assert words(hen.english)[hen.antecedent] == "hen"

    def test_who_teaches_whom(self) -> None:
        tags = ["DET", "NOUN", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN", "PUNCT"]
        found = taught("The teacher taught the student with the book.", "", tags)
        assert found is not None
        assert (found.teacher, found.verb, found.pupil, found.with_, found.thing) == (1, 2, 4, 5, 7)
        assert taught("The teacher taught the student.", "", [*tags[:5], "PUNCT"]) is None


class TestGPT:
    @pytest.fixture
    def model(self) -> Any:
        shape = StackConfig(n_layers=3, n_heads=2, d_ff=20)
        config = ModelConfig(architecture="decoder", d_model=12, decoder=shape, norm="pre", max_length=16, **SIZES)
        model: Any = build(config)
        initialise(model, 1)
        return model.eval()

    def test_steps_are_rows_of_the_forward(self, model: Any) -> None:
        config = DecodingConfig(beams=1, temperature=0.7, top_k=3)
        steps, state = gpt_in_depth.written(model, [5, 6, 7], config, [0, 1], 4)
        ids = torch.tensor([[5, 6, 7, *(step.chosen for step in steps[:-1])]])
        with torch.inference_mode():
            rows = model(ids)[0, 2:]
        torch.testing.assert_close(torch.stack([step.logits for step in steps]), rows)
        assert [step.length for step in steps] == [3, 4, 5, 6] == [*range(3, state.length + 1)]
        assert [int((step.left > 0).sum()) for step in steps] == [3] * 4
        assert all(step.left[step.chosen] > 0 and step.left[[0, 1]].sum() == 0 for step in steps)

    def test_the_lens_on_the_last_layer_is_the_model(self, model: Any) -> None:
        taps: dict[str, torch.Tensor] = {}
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.inference_mode():
            logits = model(ids, tap=lambda name, tensor: taps.setdefault(name, tensor))
        torch.testing.assert_close(gpt_in_depth.lens(model, taps["decoder.layers.2.out"]), logits.softmax(-1))

    def test_losses_end_with_that_of_the_model(self, model: Any) -> None:
        windows = torch.tensor([[5, 6, 7, 8, 9], [4, 4, 10, 3, 2]])
        found = gpt_in_depth.losses(model, windows)
        with torch.inference_mode():
            logits = model(windows[:, :-1])
        wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
        assert len(found) == 4
        assert found[-1] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("name", "values"), [("alignment", alignment_page.values), ("pruning", pruning_page.values)])
def test_pages_say_what_their_figures_say(name: str, values: Any) -> None:
    record = json.loads((STUDIES / f"{name}.json").read_text(encoding="utf-8"))
    figures = record["runs"] if name == "pruning" else record
    assert report.page(name, values(figures), record) == (STUDIES / f"{name}.md").read_text(encoding="utf-8")


def test_how_many_heads_can_go() -> None:
    found = {"bleu": 50.0, "removed": [0, 4, 8, 12], "curves": {"one": [50.0, 49.5, 48.0, 49.9]}}
    assert [pruning_page.removable(found, "one", lost) for lost in (0.4, 1.0, 2.0)] == [0, 4, 12]


def test_pictures_are_svg_with_text(tmp_path: Path) -> None:
    from benchmarks.studies import pictures

    for name in ("one", "two"):
        pictures.maps(tmp_path / f"{name}.svg", {"$": np.array([[0.0, 7.0]])}, ["row"], ["a", "$b$"], label="share")
    picture = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert all(f">{text}</text>" in picture for text in ("7", "row", "$b$"))
    assert picture == (tmp_path / "two.svg").read_text(encoding="utf-8")
