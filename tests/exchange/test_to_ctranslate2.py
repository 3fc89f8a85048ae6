"""Models of ours in CTranslate2: its numbers and what it writes, against ours, for the sources and targets of toy_models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from encoder_decoders import lively as quiet
from parity import randomised
from saved_models import saved, vocabulary
from test_use import with_sines
from test_vocabularies import MAKE
from toy_models import (
    ALONE,
    END,
    LIMIT,
    OTHERS,
    PAIRS,
    SOURCES,
    START,
    TARGETS,
    V,
    directory_of,
    greedy,
    lively,
    searched,
    variety,
)
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
)

import pellucid
from pellucid.base.config import DecodingConfig, ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.recipe import to_dict
from pellucid.exchange.to_ctranslate2 import Names, obstacles, save, specification
from pellucid.tasks.imports import import_model
from pellucid.tasks.leaving import leave

NAMES = [f"token {index}" for index in range(V)]


def tokens(ids: list[int]) -> list[str]:
    return [NAMES[index] for index in ids]


def engine(config: ModelConfig, model: Any, directory: Path) -> Any:
    """The model there. Of a translator it is the engine that adds the end token to a source."""
    names = Names(NAMES, NAMES, NAMES[1], NAMES[START], NAMES[END], None, after=True)
    save(specification(model, config, names, "float32"), directory)
    kind = ctranslate2.Translator if config.architecture == "encoder-decoder" else ctranslate2.Generator
    return kind(str(directory), device="cpu", intra_threads=1)


@pytest.mark.parametrize("name", PAIRS)
class TestPairs:
    def test_log_probabilities_of_targets(self, name: str, tmp_path: Path) -> None:
        """In one batch there, whose sources are padded; one by one here."""
        config, model = PAIRS[name], lively(name)
        found = engine(config, model, tmp_path).score_batch(list(map(tokens, SOURCES)), list(map(tokens, TARGETS)))
        for source, target, scores in zip(SOURCES, TARGETS, found, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*source, END]]), torch.tensor([[START, *target]]))[0]  # (T, V)
            expected = logits.log_softmax(-1).gather(1, torch.tensor([[*target, END]]).T)[:, 0]
            torch.testing.assert_close(torch.tensor(scores.log_probs), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            pytest.param(DecodingConfig(beams=1), {"beam_size": 1}, id="greedy"),
            pytest.param(DecodingConfig(beams=3, length_penalty="none"), {"beam_size": 3, "length_penalty": 0}, id="none"),
            pytest.param(
                DecodingConfig(beams=3, length_penalty="power", alpha=0.8),
                {"beam_size": 3, "length_penalty": 0.8, "patience": 1000},
                id="power",
            ),
        ],
    )
    def test_what_is_written(self, ours: DecodingConfig, theirs: dict[str, Any], name: str, tmp_path: Path) -> None:
        config, model = PAIRS[name], lively(name)
        expected = searched(model, config, ours)
        assert variety([list(best.ids) for best in expected]) > 2
        translator = engine(config, model, tmp_path)
        options = {"max_decoding_length": LIMIT, "min_decoding_length": 0, "return_scores": True, **theirs}
        found = translator.translate_batch(list(map(tokens, SOURCES)), **options)
        assert [each.hypotheses[0] for each in found] == [tokens(best.ids) for best in expected]
        if ours.beams > 1:  # of a greedy search ours divides as the recipe says, theirs does not
            scores = [each.scores[0] for each in found]
            assert scores == pytest.approx([best.score for best in expected], rel=1e-4)


@pytest.mark.parametrize("name", ALONE)
class TestAlone:
    def test_logits(self, name: str, tmp_path: Path) -> None:
        config, model = ALONE[name], lively(name)
        found = torch.from_numpy(np.array(engine(config, model, tmp_path).forward_batch(SOURCES)))
        for row, ids in enumerate(SOURCES):
            with torch.no_grad():
                torch.testing.assert_close(found[row, : len(ids)], model(torch.tensor([ids]))[0], rtol=1e-4, atol=1e-5)

    def test_what_is_written(self, name: str, tmp_path: Path) -> None:
        config, model = ALONE[name], lively(name)
        generator = engine(config, model, tmp_path)
        options = {"max_length": LIMIT, "sampling_topk": 1, "include_prompt_in_result": False}
        found = [each.sequences_ids[0] for each in generator.generate_batch(list(map(tokens, SOURCES)), **options)]
        assert found == greedy(model, config)
        assert variety(found) > 2


REASONS = {
    "llama3": "rotary.scaling is llama3",
    "relative, alone": "positions is relative",
    "additive": "attention is additive",
    "an encoder with alibi": "positions is alibi",
    "no positions": "positions is none",
    "layers apart": "encoder.n_heads differs.*; model.decoder.n_heads differs.*; model.decoder.reads",
    "a head with a layer": "head has a layer",
    "types of tokens": "embedding.types",
    "a classifier": "it is an encoder",
    "bert": "it is an encoder",
    "pictures": "its source is pictures",
    "pictures to texts": "its source is pictures",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_said_is_refused_with_the_reason(name: str) -> None:
    assert re.match(f"(?:model.)?(?:positional.)?{REASONS[name]}", "; ".join(obstacles(OTHERS[name])))


def test_a_refusal_writes_nothing(tmp_path: Path) -> None:
    model = directory_of(OTHERS["llama3"], "language_modelling", tmp_path / "model")
    with pytest.raises(UsageError, match="llama3"):
        leave(model, tmp_path / "new" / "out", "ctranslate2")
    assert not (tmp_path / "new").exists()


def run_readme(directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the lines of Python in a README print, run in its directory as they stand there."""
    [code] = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(directory)
    capsys.readouterr()
    exec(code, {})
    out = capsys.readouterr().out
    assert out.endswith("\n")
    return out[:-1]


def test_a_trained_translator(
    learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every sentence that it learnt, and the text of the README."""
    leave(learnt, tmp_path / "out", "ctranslate2")
    translator = pellucid.load(learnt)
    printed = run_readme(tmp_path / "out", monkeypatch, capsys)
    assert printed == translator.translate(["Write a text here."], beams=1)[0]
    there = ctranslate2.Translator(str(tmp_path / "out"), device="cpu", intra_threads=1)
    lines = (learnt.parent / "corpus" / "train.tsv").read_text(encoding="utf-8").splitlines()[:40]
    texts = [line.split("\t")[0] for line in lines]
    words = [translator.tokenizer.tokens(ids) for ids in translator.tokenizer.encode_batch(texts)]
    banned = [["<pad>"], ["<unk>"], ["<s>"]]
    spelt = [[word.replace("▁", " ") for word in row] for row in words]
    found = there.translate_batch(spelt, beam_size=1, min_decoding_length=0, max_decoding_length=32, suppress_sequences=banned)
    assert ["".join(each.hypotheses[0])[1:] for each in found] == translator.translate(texts, beams=1)
    assert len({each.hypotheses[0][0] for each in found}) > 4  # else the outputs were all alike
    assert (tmp_path / "out" / "pellucid.json").is_file()


def test_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = directory_of(ALONE["llama"], "language_modelling", tmp_path / "model")
    leave(model, tmp_path / "out", "ctranslate2")
    whole = pellucid.load(model).generate(["Write a text here."], tokens=20, beams=1)[0]
    assert "Write a text here." + run_readme(tmp_path / "out", monkeypatch, capsys) == whole


def test_a_public_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own tokenizer, which knows fewer tokens than its table."""
    saved("gpt2", tmp_path / "theirs")
    vocabulary(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "model")
    leave(tmp_path / "model", tmp_path / "out", "ctranslate2")
    model = pellucid.load(tmp_path / "model")
    room = 29 - len(model.tokenizer.encode("Write a text here.")) + 1  # of its 29 positions, and the last token is not read
    [written] = model.generate(["Write a text here."], tokens=room, beams=1)
    assert room < 20
    assert "Write a text here." + run_readme(tmp_path / "out", monkeypatch, capsys) == written


SIZES = {"d_model": 24, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "encoder_layers": 1, "decoder_layers": 2}
HEADS = {"encoder_attention_heads": 3, "decoder_attention_heads": 2, "max_position_embeddings": 64}


def public_pair(family: str, directory: Path) -> Any:
    """A toy of a public encoder-decoder with a trained vocabulary, here."""
    MAKE[family](directory / "theirs")
    theirs: Any
    if family == "t5":
        shape = {"d_model": 24, "d_kv": 8, "num_layers": 2, "num_heads": 3, "d_ff": 40, "relative_attention_num_buckets": 8}
        theirs = T5ForConditionalGeneration(T5Config(vocab_size=200, decoder_start_token_id=0, **shape))
    elif family == "bart":
        theirs = BartForConditionalGeneration(BartConfig(vocab_size=400, **SIZES, **HEADS))
    else:
        last = json.loads((directory / "theirs" / "config.json").read_text())["decoder_start_token_id"]
        ends = {"eos_token_id": 0, "forced_eos_token_id": 0, "pad_token_id": last, "decoder_start_token_id": last}
        theirs = MarianMTModel(MarianConfig(vocab_size=last + 1, **SIZES, **HEADS, **ends))
    with_sines(lambda model: quiet(randomised(model)), theirs).float().save_pretrained(directory / "theirs")
    import_model(directory / "theirs", directory / "model")
    return pellucid.load(directory / "model")


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("family", ["marian", "t5", "bart"])
def test_a_public_pair(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lists of pieces with ids of their own; a start token that is padding; tokens on both sides of a source."""
    (tmp_path / "theirs").mkdir()
    ours = public_pair(family, tmp_path)
    leave(tmp_path / "model", tmp_path / "out", "ctranslate2")
    [expected] = ours.translate(["Write a text here."], beams=1)
    assert run_readme(tmp_path / "out", monkeypatch, capsys).replace("\n", " ") == expected
    assert expected


def test_in_eight_bits(learnt: Path, tmp_path: Path) -> None:
    for quantization in ("float32", "int8"):
        leave(learnt, tmp_path / quantization, "ctranslate2", quantization=quantization)
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("float32", "int8")]
    assert sizes[1] < 0.45 * sizes[0]
    found = [
        ctranslate2.Translator(str(tmp_path / name), device="cpu", intra_threads=1).translate_batch(
            [[" a", " b", " c"], [" g"]], beam_size=1
        )
        for name in ("float32", "int8")
    ]
    assert [each.hypotheses for each in found[0]] == [each.hypotheses for each in found[1]]


def test_without_a_tokenizer(tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "model")
    with pytest.raises(UsageError, match="without a tokenizer"):
        leave(tmp_path / "model", tmp_path / "out", "ctranslate2")
    assert not (tmp_path / "out").exists()


def test_names_of_ids_that_have_none(tmp_path: Path) -> None:
    """The vocabulary there is one name for each row of the table, no two alike."""
    saved("gpt2", tmp_path / "theirs")
    vocabulary(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "model")
    leave(tmp_path / "model", tmp_path / "out", "ctranslate2")
    names = json.loads((tmp_path / "out" / "vocabulary.json").read_text(encoding="utf-8"))
    assert len(names) == len(set(names)) == 300
    assert names[-1] == "<unused_299>"


def test_the_configuration_beside_it_is_the_models(learnt: Path, tmp_path: Path) -> None:
    leave(learnt, tmp_path / "out", "ctranslate2")
    beside = json.loads((tmp_path / "out" / "pellucid.json").read_text(encoding="utf-8"))
    assert beside["model"] == json.loads(json.dumps(to_dict(pellucid.load(learnt).config.model)))


def test_a_missing_library_is_a_hint(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.exchange.to_ctranslate2.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=re.escape('pip install "pellucid[ctranslate2]"')):
        leave(learnt, tmp_path / "out", "ctranslate2")
    assert not (tmp_path / "out").exists()


def test_it_does_not_write_over_anything(learnt: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for program in ("ctranslate2", "onnx"):
        with pytest.raises(UsageError, match="something here"):
            leave(learnt, tmp_path, program)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
