"""``explain`` of what ``pellucid.load`` gives, for every task: the text as the task reads it, and what the task would write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import load
from pellucid.base.config import DecodingConfig, HeadConfig, ModelConfig, PictureConfig, RunConfig, StackConfig, TextConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.explain.edits import ZeroHead
from pellucid.model.build import build, initialise
from pellucid.tasks.labels import Labels
from pellucid.tasks.registry import using_side
from pellucid.text.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat", "a dog ran to the cat", "the dog sat"]
TOKENIZER = Tokenizer.train(TEXTS, TextConfig(tokenizer="word", vocabulary=40, min_frequency=1, mask=True, sentinels=3))
V = TOKENIZER.vocabulary_size
STACK = StackConfig(n_layers=2, n_heads=2, d_ff=20)
SHAPE = ModelConfig(d_model=16, encoder=STACK, decoder=STACK, max_length=32, source_vocabulary=V, target_vocabulary=V)
PICTURE = PictureConfig(patch=2, height=4, width=6, channels=1)


def loaded(task: str, model: ModelConfig, *more: Any, tokenizers: Any = TOKENIZER, **config: Any) -> Any:
    """The using side of a task, its model random."""
    run = RunConfig(task=task, model=model, decoding=DecodingConfig(beams=2, max_extra=4), **config)  # type: ignore[arg-type]
    found = build(model)
    initialise(found, 3)
    return using_side(task)(found, *more, run) if more else using_side(task)(found, run, tokenizers)


def translator() -> Any:
    return loaded("translation", SHAPE, (TOKENIZER, TOKENIZER))


def language_model() -> Any:
    return loaded("language_modelling", replace(SHAPE, architecture="decoder"))


def classifier() -> Any:
    model = replace(SHAPE, architecture="encoder", tie="none", target_vocabulary=3, head=HeadConfig(pool="class"))
    found = loaded("classification", model)
    found._labels = Labels(("bad", "good", "neither"))
    return found


def test_a_translator_writes_what_it_translates() -> None:
    model = translator()
    trace = model.explain("the cat sat")
    assert trace.output == model.translate("the cat sat")[0]
    assert trace.names["source"] == (*TOKENIZER.tokens(TOKENIZER.encode("the cat sat")), "</s>")
    assert trace.names["target"][0] == "<s>"
    assert trace["logits"].labels == (trace.names["target"], tuple(TOKENIZER.tokens(range(V))))
    assert trace["decoder.layers.1.cross_attn.weights"].labels == (None, trace.names["target"], trace.names["source"])
    assert trace.check().worst.difference <= 1e-5
    one = model.explain("the cat sat", beams=1, taps=["probs"])
    assert next(iter(one)) == "probs"
    assert one.output == model.translate("the cat sat", beams=1)[0]


def test_a_text_can_be_given_in_place_of_the_output() -> None:
    trace = translator().explain("the cat sat", output="a dog ran")
    assert trace.names["written"] == (*TOKENIZER.tokens(TOKENIZER.encode("a dog ran")), "</s>")
    assert trace.output == "a dog ran"
    assert trace.steps == ()


def test_an_edit_reaches_the_translation() -> None:
    model = translator()
    plain = model.explain("the cat sat")
    new = model.explain("the cat sat", edits=[ZeroHead("encoder.layers.0.self_attn", 1)])
    assert max(position.kl for position in new.diff(plain).positions) > 0.0
    assert (new["encoder.layers.0.self_attn.z"].array[1] == 0.0).all()


@pytest.mark.parametrize("prompt", ["the dog", ""])
def test_a_language_model_goes_on(prompt: str) -> None:
    model = language_model()
    trace = model.explain(prompt, tokens=5, beams=1)
    assert f"{prompt} {trace.output}".split() == model.generate(prompt, tokens=5, beams=1)[0].split()
    assert len(trace.steps) == 5
    assert len(trace.names["target"]) == max(len(TOKENIZER.encode(prompt)), 1) + 4
    assert trace.check().worst.difference <= 1e-5
    drawn = model.explain(prompt, tokens=4, temperature=2.0, top_k=5, seed=7)
    assert (
        drawn.output.split()
        == model.generate(prompt, tokens=4, temperature=2.0, top_k=5, seed=7)[0].split()[len(prompt.split()) :]
    )
    assert all(step.draw is not None for step in drawn.steps)


def test_a_classifier_answers_with_a_class() -> None:
    model = classifier()
    trace = model.explain("the cat sat")
    [found] = model.classify("the cat sat")
    assert trace.output == found.label
    assert trace["probs"].labels == (("bad", "good", "neither"),)
    np.testing.assert_allclose(trace["probs"].array, list(found.probabilities.values()), rtol=1e-5)
    assert trace["encoder.out"].labels[0] == ("<s>", *TOKENIZER.tokens(TOKENIZER.encode("the cat sat")), "</s>")


def test_a_masked_language_model_sees_the_gap() -> None:
    model = loaded("masked_lm", replace(SHAPE, architecture="encoder"))
    trace = model.explain("the [MASK] sat")
    at = trace.names["source"].index("<mask>")
    [[best, *_]] = model.fill("the [MASK] sat", n=V)
    shares = trace["probs"].array[at]
    words = range(TOKENIZER.n_controls, V)
    assert trace.vocabulary[max(words, key=lambda word: shares[word])].removeprefix("▁") == best.token


def test_a_tagger_has_a_row_for_every_piece() -> None:
    model = loaded("tagging", replace(SHAPE, architecture="encoder", tie="none", target_vocabulary=4))
    model._labels = Labels(("ADJ", "DET", "NOUN", "VERB"))
    trace = model.explain("the cat")
    assert trace["probs"].axes == ("position", "class")
    assert trace["probs"].labels == (trace.names["source"], ("ADJ", "DET", "NOUN", "VERB"))


def test_a_denoiser_fills_the_gap() -> None:
    model = loaded("denoising", SHAPE, (TOKENIZER, TOKENIZER))
    model.config = replace(model.config, corruption=replace(model.config.corruption, objective="spans"))
    trace = model.explain("the [MASK] sat")
    assert "<extra_0>" in trace.names["source"]
    assert trace.output is not None


def test_pictures_have_squares_for_positions() -> None:
    model = replace(
        SHAPE,
        architecture="encoder",
        tie="none",
        picture=PICTURE,
        source_vocabulary=0,
        target_vocabulary=3,
        head=HeadConfig(pool="class"),
    )
    run = RunConfig(task="picture_classification", model=model)
    network = build(model)
    initialise(network, 3)
    found = using_side("picture_classification")(network, run, None)
    pixels = torch.randn(1, 1, 4, 6)
    found.pixels = lambda pictures: pixels
    trace = found.explain("a.png")
    names = ("class token", "0,0", "0,1", "0,2", "1,0", "1,1", "1,2")
    assert trace["encoder.layers.0.self_attn.weights"].labels[1] == names
    assert trace.text == "a.png"
    assert trace.output == str(int(np.argmax(trace["logits"].array)))


def test_a_caption_is_written() -> None:
    model = replace(SHAPE, tie="decoder", picture=PICTURE, source_vocabulary=0)
    run = RunConfig(task="captioning", model=model, decoding=DecodingConfig(beams=2, max_extra=4))
    network = build(model)
    initialise(network, 3)
    found = using_side("captioning")(network, run, None, TOKENIZER)
    pixels = torch.randn(1, 1, 4, 6)
    found.pixels = lambda pictures: pixels
    trace = found.explain("a.png")
    assert trace["decoder.layers.0.cross_attn.weights"].labels[2] == ("0,0", "0,1", "0,2", "1,0", "1,1", "1,2")
    assert len(trace.names["written"]) <= 4


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(UsageError, match="writes nothing"):
        classifier().explain("the cat", beams=3)
    with pytest.raises(DataError, match="empty text"):
        classifier().explain(" ")
    with pytest.raises(UsageError, match="no tap has this name"):
        translator().explain("the cat", taps=["*.wieghts"])
    with pytest.raises(DataError, match="leaves no position"):
        language_model().explain("the " * 40)


def test_a_loaded_model_is_explained(learnt: Path) -> None:
    model = load(learnt, device="cpu")
    trace = model.explain("a b d")
    assert trace.output == "D B A"
    assert trace.check().worst.difference <= 1e-5
    assert not model.model.training
